"""What a worker knows of keys and renewals: read from their files in a thread, and remembered.

Rules:

1. Keys are read again after KEYS_SECONDS, and at once when a key is named that is not known.
2. A renewal is read when a URL is over by what is known of it; until then nobody asks.
3. A disk that fails or hangs changes nothing for what is remembered: guests go on.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cacheproxy.config import SignedUrlSettings
from cacheproxy.core.grant import Key, Keys
from cacheproxy.errors import StorageError
from cacheproxy.grantfiles import GrantFiles

KEYS_SECONDS = 10.0  # how long keys are believed
FILE_SECONDS_MAX = 5.0  # the longest wait for the disk
RENEWALS_MAX = 16_384  # remembered

T = TypeVar("T")


class GrantBook:
    """Belongs to one loop; `close` it."""

    def __init__(
        self,
        files: GrantFiles,
        settings: SignedUrlSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._key_seconds = settings.key_days * 86_400
        self._lifetime_max = settings.lifetime_seconds_max
        self._clock = clock
        self._keys = Keys(())
        self._read_at = -KEYS_SECONDS  # by the monotonic clock
        self._renewed: OrderedDict[str, int] = OrderedDict()  # when it ends; the oldest known first
        self._thread = ThreadPoolExecutor(1, "grants")
        self._late: asyncio.Future[Any] | None = None  # what the thread may hang in

    def __repr__(self) -> str:
        return f"<GrantBook {len(self._keys.keys)} keys, {len(self._renewed)} renewals>"

    def close(self) -> None:
        """Read no more; does not wait for a disk that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def signing_key(self) -> Key:
        """Return the key that signs now; `StorageError` if there is none to be had."""
        now = int(self._clock())
        keys = await self._run(
            lambda: self._files.signing(now, self._key_seconds, self._lifetime_max)
        )
        self._know(keys)
        assert keys.newest is not None
        return keys.newest

    async def verifying_key(self, name: str) -> Key | None:
        """Find a key that verifies; `StorageError` if it is not known and cannot be looked for."""
        fresh = time.monotonic() - self._read_at < KEYS_SECONDS
        key = self._find(name)
        if key is None or not fresh:
            try:
                self._know(await self._run(self._files.keys))
            except StorageError:
                if key is None:
                    raise
            key = self._find(name)
        return key

    def remembered(self, name: str) -> bool:
        """Whether it is known without a look that a renewed URL has not ended."""
        return self._clock() < self._renewed.get(name, 0)

    async def ends(self, name: str) -> int | None:
        """Return when a renewed URL ends, None if it was never renewed.

        `StorageError` if that cannot be known now.
        """
        until = await self._run(lambda: self._files.renewed(name))
        if until is not None:
            self._note(name, until)
        return until

    async def renew(self, name: str, until: int) -> int:
        """Have a URL not end before then; return when it ends.  Durable once this returns."""
        now = int(self._clock())
        until = await self._run(lambda: self._files.renew(name, until, now, self._lifetime_max))
        self._note(name, until)
        return until

    def _find(self, name: str) -> Key | None:
        return self._keys.verifying(name, self._clock(), self._lifetime_max)

    def _know(self, keys: Keys) -> None:
        self._keys, self._read_at = keys, time.monotonic()

    def _note(self, name: str, until: int) -> None:
        self._renewed[name] = until
        self._renewed.move_to_end(name)
        if len(self._renewed) > RENEWALS_MAX:
            self._renewed.popitem(last=False)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._late is not None:
            raise StorageError("the disk of the signed URLs' keys hangs")
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            async with asyncio.timeout(FILE_SECONDS_MAX):
                return await asyncio.shield(future)
        except TimeoutError:
            self._late = future
            raise StorageError("the disk of the signed URLs' keys hangs") from None
        finally:
            if not future.done():
                future.add_done_callback(self._ended)

    def _ended(self, future: asyncio.Future[Any]) -> None:
        if future is self._late:
            self._late = None
        if not future.cancelled():
            future.exception()  # looked at: nobody waits for it any more
