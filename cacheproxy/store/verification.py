"""Checking chunks of a store in use at full speed, on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

from cacheproxy.store.layout import Table
from cacheproxy.store.provenchunks import Checked, Verdict
from cacheproxy.store.threads import Threads
from cacheproxy.store.writer import Writer

AT_ONCE = 2  # chunks read at once: half of the keeper's threads
SLICE = 256  # digests taken from the index at once
BAD_MAX = 1000  # of those found bad, so many are named


@dataclass(slots=True)
class Verification:
    """What was found so far."""

    total: int  # chunks to check, as far as known when it began
    chunks: int = 0  # checked, whatever came out
    read_bytes: int = 0
    damaged: int = 0
    missing: int = 0  # the index lists them, but their files are not there
    unreadable: int = 0  # the disk did not let their files be opened
    gone: int = 0  # not in the cache, or evicted meanwhile
    bad: list[bytes] = field(default_factory=list)  # the first of the damaged and missing

    def add(self, digest: bytes, checked: Checked) -> None:
        """Count a chunk."""
        self.chunks += 1
        self.read_bytes += checked.size
        self.damaged += checked.verdict is Verdict.DAMAGED
        self.missing += checked.verdict is Verdict.MISSING
        self.unreadable += checked.verdict is Verdict.UNREADABLE
        self.gone += checked.verdict is Verdict.GONE
        if checked.verdict in (Verdict.DAMAGED, Verdict.MISSING) and len(self.bad) < BAD_MAX:
            self.bad.append(digest)


Progress = Callable[[Verification], None]


async def verify_chunks(
    check: Callable[[bytes, Threads], Awaitable[Checked]],
    writer: Writer,
    threads: Threads,
    digests: Iterable[bytes] | None,
    progress: Progress | None,
) -> Verification:
    """Check these chunks, or all that the index lists; `progress` is called after each.

    `StorageError` if the disk fails in a way that is not one chunk's.
    """
    if digests is None:
        found, left = Verification(writer.count(Table.CHUNKS)), _all(writer)
    else:
        chosen = list(digests)
        found, left = Verification(len(chosen)), iter(chosen)

    async def work() -> None:
        for digest in left:
            found.add(digest, await check(digest, threads))
            if progress is not None:
                progress(found)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return found


def _all(writer: Writer) -> Iterator[bytes]:
    """Give all digests; chunks may come and go between two of them."""
    after = b""
    while digests := writer.names_after(Table.CHUNKS, after, SLICE):
        yield from digests
        after = digests[-1]
