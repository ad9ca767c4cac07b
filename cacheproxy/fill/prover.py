"""The whole-image hash, computed in order and in a thread, beside the fill."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.manifest import content_id
from cacheproxy.errors import ChunkLostError, ProofFailedError, StorageError
from cacheproxy.fill.content import Content
from cacheproxy.fill.ports import FillPorts
from cacheproxy.metrics import VERIFY_FAILURES
from cacheproxy.store.chunkstore import ChunkStore, OpenChunk

PROOF_RETRIES_MAX = 3  # chunks damaged on the disk between landing and hashing
BATCH_CHUNKS = 8  # hashed by one job of the thread, if so many are there
_READ_BYTES = 1 << 20  # at once: the interpreter is given up and fought for at each read and hash

Chunk = Callable[[int], Awaitable[tuple[bytes, int]]]  # waits for one; its digest and size


async def prove(
    facts: ImageFacts,
    content: Content,
    ports: FillPorts,
    landed: Callable[[int], Awaitable[None]],
    look_again: Callable[[], None],
) -> None:
    """Compare a content that is coming in with the image's hash; `ProofFailedError` if it differs.

    `landed` waits for news of a chunk.  `look_again` is called when one was found damaged: it is
    fetched again, and all is hashed anew.  `StorageError` if that happens again and again, or the
    disk fails.
    """

    async def chunk(index: int) -> tuple[bytes, int]:
        while not content.present(index):
            await landed(index)
        digest = content.manifest.digest(index)
        assert digest is not None
        return digest, len(content.grid.chunk(index))

    for _ in range(PROOF_RETRIES_MAX):
        prover = Prover(facts, ports.store, ports.provers)
        try:
            if await prover.matches(content.grid.count, chunk, content.present):
                return
        except ChunkLostError:
            look_again()  # quarantined; a leg fetches it again
        else:
            ports.meter.inc(VERIFY_FAILURES)
            raise ProofFailedError("the image's data does not match its hash")
    raise StorageError("chunks are damaged on the disk again and again")


class Prover:
    """Hashes an image's chunks in order as they arrive and compares the whole.

    Glance's `os_hash_value` counts where its algorithm is known, else the md5 `checksum`; an image
    with neither is proven by its size alone, which its fill has checked.
    """

    def __init__(self, facts: ImageFacts, store: ChunkStore, executor: Executor) -> None:
        self._store = store
        self._executor = executor
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._expected: str | None
        if content_id(facts) is not None and facts.hash_algo is not None:
            self._hash = hashlib.new(facts.hash_algo)
            self._expected = facts.hash_value
        else:
            # Glance's own legacy checksum; it guards against accidents, as it does there
            self._hash = hashlib.md5(usedforsecurity=False)
            self._expected = facts.checksum

    async def matches(self, count: int, chunk: Chunk, there: Callable[[int], bool]) -> bool:
        """Hash `count` chunks and compare; `there` tells whether `chunk` need not wait.

        Raises `ChunkLostError` if a chunk is damaged on disk before it was hashed, `StorageError`
        if the disk fails.
        """
        index = 0
        while index < count:
            batch: list[tuple[OpenChunk, int]] = []
            try:
                while index < count and len(batch) < BATCH_CHUNKS and (not batch or there(index)):
                    digest, size = await chunk(index)
                    if self._expected is not None:
                        batch.append((await self._store.open_proven(digest, size), size))
                    index += 1
                if batch:
                    await self._run(batch)
            finally:
                for opened, _ in batch:
                    os.close(opened.fd)
        return self._expected is None or self._hash.hexdigest() == self._expected

    async def _run(self, batch: list[tuple[OpenChunk, int]]) -> None:
        """Hash these chunks in the thread, which is never left alone with their descriptors."""
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._executor, self._update, batch)
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            await reading
            raise

    def _update(self, batch: list[tuple[OpenChunk, int]]) -> None:
        for opened, size in batch:
            position = 0
            while position < size:
                room = self._buffer[: size - position]
                try:
                    count = os.preadv(opened.fd, [room], position)
                except OSError as error:
                    raise StorageError(f"reading a chunk: {error.strerror}") from error
                if not count:
                    break  # cut meanwhile: the hash will not match, and the fill starts afresh
                self._hash.update(room[:count])
                position += count
