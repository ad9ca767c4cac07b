"""Changes of the index: seen by every reader at once, committed soon, by one thread.

* `write` puts a change where `read` finds it; the loop never waits for a commit.
* A batch is committed when it is full, when somebody waits for it, or after `LINGER_SECONDS`;
  a crash loses what was not: chunk files without an entry, which reconciling adopts.
* A commit that fails is tried again until it succeeds; meanwhile the changes stay readable, and
  `full` says when no more should be made.  All of it happens on the loop but `IndexFile.apply`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from cacheproxy.errors import StorageError
from cacheproxy.store.index import IndexFile
from cacheproxy.store.layout import Key, Table

log = logging.getLogger(__name__)

# A batch touches at most a few pages per change, so a commit makes the file grow by less than
# GROWTH_BYTES; the ledger keeps that much free.
BATCH_CHANGES_MAX = 256
BATCH_BYTES_MAX = 512 << 10
GROWTH_BYTES = 4 << 20

LINGER_SECONDS = 0.5
RETRY_SECONDS = 1.0
PENDING_BYTES_MAX = 16 << 20
CHANGE_BYTES = 300  # what a change takes in memory beside its name and value

_ABSENT: Final = object()


class Writer:
    """The changes on their way into one index file; `on_committed` learns its bytes on disk."""

    def __init__(self, file: IndexFile, on_committed: Callable[[int], None]) -> None:
        self._file = file
        self._on_committed = on_committed
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "index-writer")
        self._waiting: dict[Key, bytes | None] = {}  # in order of their first change
        self._flying: dict[Key, bytes | None] = {}  # in the transaction that is being committed
        self._waiting_bytes = 0
        self._taken = 0  # changes that were ever taken out of `_waiting`
        self._syncs: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._failing: StorageError | None = None
        self._flying_since = 0.0
        self._closed = False

    def __repr__(self) -> str:
        failing = ", failing" if self._failing else ""
        return f"<Writer {len(self._waiting)} waiting, {len(self._flying)} flying{failing}>"

    @property
    def failing(self) -> StorageError | None:
        """What the last commit failed with, None if it succeeded."""
        return self._failing

    @property
    def flying_since(self) -> float | None:
        """When the commit that is in progress began (of time.monotonic()), if one is."""
        return self._flying_since if self._flying else None

    @property
    def full(self) -> bool:
        """Whether commits fail or lag so far behind that no new chunk should be stored."""
        return self._waiting_bytes > PENDING_BYTES_MAX

    # --- reading ----------------------------------------------------------------------------------

    def read(self, key: Key) -> bytes | None:
        """Return the value under a key, with all changes up to now."""
        value = self._waiting.get(key, _ABSENT)
        if value is _ABSENT:
            value = self._flying.get(key, _ABSENT)
        if value is _ABSENT:
            return self._file.get(key)
        assert value is None or isinstance(value, bytes)
        return value

    def read_all(self, table: Table, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the values under some names of a table, with all changes up to now."""
        values = self._file.get_all(table, names)
        for changes in (self._flying, self._waiting):
            if changes:
                keys = [Key(table, name) for name in names]
                values = [changes.get(key, value) for key, value in zip(keys, values, strict=True)]
        return values

    def names(self, table: Table, prefix: bytes) -> set[bytes]:
        """Return the names that begin like this, with all changes up to now."""
        names = set(self._file.names(table, prefix))
        for changes in (self._flying, self._waiting):
            for key, value in changes.items():
                if key.table is table and key.name.startswith(prefix):
                    (names.discard if value is None else names.add)(key.name)
        return names

    def names_after(self, table: Table, after: bytes, count: int) -> list[bytes]:
        """Return at most `count` names behind the name `after`, in order; none: there are no more."""
        while True:
            names = self._file.names_after(table, after, count)
            # Behind the last of a whole slice come other slices; else all that is not committed yet.
            last = names[-1] if len(names) == count else None
            found = set(names)
            for changes in (self._flying, self._waiting):
                for key, value in changes.items():
                    if key.table is table and after < key.name and (not last or key.name <= last):
                        (found.discard if value is None else found.add)(key.name)
            if found or last is None:
                return sorted(found)[:count]
            after = last

    def count(self, table: Table) -> int:
        """Return how many rows a table had at the last commit."""
        return self._file.count(table)

    def size(self, *tables: Table) -> int:
        """Return the bytes that tables took in the file at the last commit."""
        return sum(map(self._file.size, tables))

    # --- writing ----------------------------------------------------------------------------------

    def write(self, key: Key, value: bytes | None) -> None:
        """Set the value under a key, or remove it."""
        assert not self._closed
        if key in self._waiting:
            self._waiting_bytes -= _weight(key, self._waiting[key])
        self._waiting[key] = value
        self._waiting_bytes += _weight(key, value)
        if len(self._waiting) >= BATCH_CHANGES_MAX or self._waiting_bytes >= BATCH_BYTES_MAX:
            self._pump()
        else:
            self._pump_after(LINGER_SECONDS)

    def committed(self) -> asyncio.Future[None]:
        """Commit without delay; the result is done when all changes up to now are committed.

        It fails with `StorageError` if a commit fails, which is tried again all the same.
        """
        synced = self._loop.create_future()
        if self._waiting or self._flying:
            self._syncs.append((self._taken + len(self._waiting), synced))
            self._pump()
        else:
            synced.set_result(None)
        return synced

    async def sync(self) -> None:
        """Wait for `committed`."""
        await self.committed()

    def _pump_after(self, seconds: float) -> None:
        if self._timer is None and not self._flying:
            self._timer = self._loop.call_later(seconds, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._pump()

    def _pump(self) -> None:
        """Send the next batch to the thread, if it is idle and not about to try again later."""
        if self._flying or self._closed or (self._failing and self._timer is not None):
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch: dict[Key, bytes | None] = {}
        batch_bytes = 0
        for key, value in self._waiting.items():
            batch_bytes += _weight(key, value)
            if batch and (len(batch) == BATCH_CHANGES_MAX or batch_bytes > BATCH_BYTES_MAX):
                break
            batch[key] = value
        for key, value in batch.items():
            del self._waiting[key]
            self._waiting_bytes -= _weight(key, value)
        if not batch:
            return
        self._taken += len(batch)
        self._flying, self._flying_since = batch, time.monotonic()
        commit = self._loop.run_in_executor(self._thread, self._file.apply, batch)
        commit.add_done_callback(self._committed)

    def _committed(self, commit: asyncio.Future[int]) -> None:
        error = commit.exception()
        if error is not None:
            self._failed(error)
            return
        if self._failing:
            self._failing = None
            log.warning("the index takes changes again")
        self._flying = {}
        self._on_committed(commit.result())
        done = [synced for target, synced in self._syncs if target <= self._taken]
        self._syncs = [(target, synced) for target, synced in self._syncs if target > self._taken]
        for synced in done:
            if not synced.done():
                synced.set_result(None)
        if self._syncs or len(self._waiting) >= BATCH_CHANGES_MAX:
            self._pump()
        elif self._waiting:
            self._pump_after(LINGER_SECONDS)

    def _failed(self, error: BaseException) -> None:
        """Keep the changes of the failed batch, under those made since, and try again later."""
        if not isinstance(error, StorageError):
            error = StorageError(f"writing the index: {type(error).__name__}")
        if not self._failing:
            log.error("%s; trying again every %s s", error, RETRY_SECONDS)
        self._failing = error
        self._waiting = {**self._flying, **self._waiting}
        self._flying = {}
        self._waiting_bytes = sum(_weight(key, value) for key, value in self._waiting.items())
        syncs, self._syncs = self._syncs, []
        for _, synced in syncs:
            if not synced.done():
                synced.set_exception(error)
        self._pump_after(RETRY_SECONDS)

    async def close(self) -> None:
        """End the thread and close the file; what is not committed is lost."""
        if self._timer is not None:
            self._timer.cancel()
        self._closed = True
        await self._loop.run_in_executor(self._thread, self._file.close)
        await asyncio.to_thread(self._thread.shutdown)


def _weight(key: Key, value: bytes | None) -> int:
    return CHANGE_BYTES + len(key.name) + (len(value) if value is not None else 0)
