"""Who waits for news of a fill, by what it is about."""

from __future__ import annotations

import asyncio


class Waiters:
    """Waiting readers by chunk index; None: for the fill as a whole (begun, proven).

    Waking is plain and loses nobody: who waits looks at the state before and after, and no `await`
    stands between the look and the wait.
    """

    def __init__(self) -> None:
        self._waiting: dict[int | None, set[asyncio.Future[None]]] = {}

    def __repr__(self) -> str:
        return f"<Waiters {sum(map(len, self._waiting.values()))}>"

    async def wait(self, about: int | None) -> None:
        """Wait for the next news about a chunk, or about the whole."""
        waiter = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(about, set())
        waiting.add(waiter)
        try:
            await waiter
        finally:
            waiting.discard(waiter)
            if not waiting and self._waiting.get(about) is waiting:
                del self._waiting[about]

    def wake(self, about: int | None) -> None:
        """Let those look again who wait for this."""
        for waiter in self._waiting.get(about, ()):
            if not waiter.done():
                waiter.set_result(None)

    def wake_all(self) -> None:
        """Let everybody look again."""
        for about in self._waiting:
            self.wake(about)
