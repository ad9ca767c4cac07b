"""Waiting for a peer that says again and again that it lives, for as long as it does.

A wait for each chunk of each download is made here, so it costs one future: one timer looks after
all of them.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from cacheproxy.errors import KeeperError

T = TypeVar("T")

SILENT = "the keeper does not answer"


class LifeSigns:
    """When the keeper was heard of last, and who waits for it; `seconds` is the longest silence."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._heard_at = 0.0
        self._waiting: set[asyncio.Future[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<LifeSigns, {len(self._waiting)} waiting>"

    def heard(self) -> None:
        """It has said something."""
        self._heard_at = asyncio.get_running_loop().time()

    def give_up(self, why: str) -> None:
        """Nothing more will come: every wait ends with `KeeperError`."""
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(KeeperError(why))
                answer.exception()  # who was cancelled meanwhile does not ask for it

    async def wait(self, answer: asyncio.Future[T]) -> T:
        """Wait for an answer; `KeeperError` when the keeper was silent for too long."""
        if not answer.done():
            if self._left() <= 0:
                answer.cancel()
                raise KeeperError(SILENT)
            self._waiting.add(answer)
            if self._timer is None:
                self._look()
        try:
            return await answer
        finally:
            self._waiting.discard(answer)

    def _left(self) -> float:
        return self._heard_at + self._seconds - asyncio.get_running_loop().time()

    def _look(self) -> None:
        """Look again when the present silence would be too long, as long as anybody waits."""
        self._timer = None
        left = self._left()
        if left <= 0:
            self.give_up(SILENT)
        elif self._waiting:
            self._timer = asyncio.get_running_loop().call_later(left, self._look)
