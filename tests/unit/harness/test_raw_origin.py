"""The scripted origin, where clients are rude."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from harness.raw_origin import Peer, raw_origin, reset


async def test_a_client_that_reset_is_a_cut_also_for_who_sends_later() -> None:
    """The transport is closed by then, of which uvloop complains in its own way."""
    sent = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.closed_by_peer()
        with suppress(ConnectionError):
            await peer.writer.wait_closed()
        await asyncio.sleep(0)
        try:
            await peer.send(b"x")
        finally:
            sent.set()

    async with raw_origin(script) as origin:
        parts = urlsplit(origin.url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        reset(writer)
        await sent.wait()
