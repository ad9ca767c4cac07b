"""Whose turn it is: a reader who takes all is not woken for every piece, and does not keep others waiting."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from cacheproxy.web.outlet import TURN_BYTES, Outlet


class Transport:
    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def is_closing(self) -> bool:
        return False


class Part:
    """Taken at once, as by a client who reads fast."""

    def __init__(self, size: int) -> None:
        self.left = size

    def __len__(self) -> int:
        return self.left

    def send(self, _: socket.socket) -> int:
        taken, self.left = self.left, 0
        return taken


async def turns_of_others(sizes: list[int]) -> int:
    """Send parts of these sizes, and count how often something else runs meanwhile."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    with socket.socket() as sock:
        outlet = Outlet(cast("Any", Transport()), sock)
        task = asyncio.create_task(other())
        await asyncio.sleep(0)
        for size in sizes:
            await outlet.send(cast("Any", Part(size)))
        task.cancel()
    return turns


async def test_pieces_go_together_until_a_turn_is_over() -> None:
    assert await turns_of_others([TURN_BYTES // 2] * 8) == 4


async def test_a_long_piece_is_a_turn_of_its_own() -> None:
    assert await turns_of_others([2 * TURN_BYTES] * 3) == 3


async def test_short_pieces_have_nobody_wait() -> None:
    assert await turns_of_others([TURN_BYTES // 8] * 7) == 0
