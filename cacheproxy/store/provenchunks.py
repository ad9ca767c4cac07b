"""Opening chunk files that hold what their digests say."""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import time
from collections.abc import Hashable
from dataclasses import dataclass

from cacheproxy.core.proof import Identity, Proof
from cacheproxy.errors import ChunkLostError, StorageError
from cacheproxy.metrics import CHUNKS_MISSING
from cacheproxy.store.departures import Departures
from cacheproxy.store.files import CHUNK_BYTES_MAX
from cacheproxy.store.layout import ChunkEntry
from cacheproxy.store.proving import read_proven
from cacheproxy.store.stock import Stock
from cacheproxy.store.threads import Threads
from cacheproxy.store.zeros import Zeros

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenChunk:
    """A chunk's open, proven file; the descriptor belongs to whoever was given this."""

    fd: int
    identity: Identity
    proven_at: float  # time.monotonic()


class Verdict(enum.Enum):
    """What became of a chunk that was looked at on the disk."""

    RIGHT = enum.auto()
    DAMAGED = enum.auto()  # and set aside
    MISSING = enum.auto()  # the index listed it, but somebody has removed its file
    UNREADABLE = enum.auto()  # the disk did not let its file be opened
    GONE = enum.auto()  # not in the cache, or not any more


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome of a check."""

    verdict: Verdict
    size: int = 0  # bytes that were read


class ProvenChunks:
    """Finds, opens and proves chunks, and keeps those that somebody needs; used on one loop.

    `trusting`: a file of the right size that nobody wrote to since it was first opened is believed
    without being hashed.
    """

    def __init__(
        self, stock: Stock, zeros: Zeros, departures: Departures, *, trusting: bool
    ) -> None:
        self._files = stock.files
        self._entries = stock.entries
        self._holds = stock.holds
        self._proofs = stock.proofs
        self._open_files = stock.open_files
        self._threads = stock.threads
        self._meter = stock.meter
        self.disk = stock.disk
        self._zeros = zeros
        self._departures = departures
        self._trusting = trusting
        self._closed = False

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the cache is closed")
        self.disk.check_usable()

    def has(self, digest: bytes) -> bool:
        """Whether the chunk is stored (and not dying), or all zeros."""
        return digest in self._zeros or self._entry(digest) is not None

    def _entry(self, digest: bytes) -> ChunkEntry | None:
        return None if self._departures.going(digest) else self._entries.get(digest)

    # --- opening ----------------------------------------------------------------------------------

    async def open_proven(self, digest: bytes, size: int) -> OpenChunk:
        """Open a chunk whose bytes are known to be right; the caller owns the descriptor.

        Without a valid proof the whole file is read and hashed first.  `ChunkLostError` if it is
        gone, dying or damaged (then it is set aside).  A caller that passes the descriptor on calls
        `hold` before it awaits anything.
        """
        at_hand = self.open_at_hand(digest, size)
        if at_hand is not None:
            return at_hand
        known = self._proofs.known(digest, time.monotonic())
        return await self._open(digest, size, known, trusting=self._trusting)

    def open_at_hand(self, digest: bytes, size: int) -> OpenChunk | None:
        """The same, for a chunk that was stored a moment ago, without waiting; None: ask the disk."""
        self._check_open()
        if digest not in self._open_files:
            return None
        known = self._proofs.known(digest, time.monotonic())
        if known is None or known.identity.size != size or self._entry(digest) is None:
            return None
        fd = self._open_files.open(digest, known.identity)
        return None if fd is None else OpenChunk(fd, known.identity, known.at)

    async def prove(self, digest: bytes, size: int) -> None:
        """Read and hash a chunk whatever is known of it; raises what `open_proven` does."""
        opened = await self._open(digest, size, None, trusting=False)
        os.close(opened.fd)

    async def _open(
        self, digest: bytes, size: int, known: Proof | None, *, trusting: bool
    ) -> OpenChunk:
        self._check_open()
        if digest in self._zeros:
            return OpenChunk(*self._zeros.open(size), time.monotonic())
        entry = self._entry(digest)
        if entry is None:
            raise ChunkLostError("the chunk is not in the cache")
        began = time.monotonic()
        self.protect(digest)
        try:
            opened = await self._threads.run(
                self._open_and_prove, digest, size, known, trusting, discard=_close_opened
            )
        except ChunkLostError:
            self._missing(digest, entry, began)
            raise
        finally:
            self.unprotect(digest)
        if opened is None:
            self._damaged(digest, entry, began)
            raise ChunkLostError("the chunk is damaged")
        if opened.identity.size != size or self._departures.going(digest):
            os.close(opened.fd)
            raise ChunkLostError("the chunk went meanwhile, or is of another size")
        if known is None or known.at != opened.proven_at:
            self._proofs.remember(digest, opened.identity, opened.proven_at)
        return opened

    def _open_and_prove(
        self, digest: bytes, size: int, known: Proof | None, trusting: bool
    ) -> OpenChunk | None:
        """In a thread: open a chunk, and hash it unless it is the file that is known.

        None if it is damaged.
        """
        began = time.monotonic()
        fd, identity = self._files.open_chunk(digest)
        try:
            if known is not None and identity == known.identity:
                return OpenChunk(fd, identity, known.at)
            if trusting and known is None and identity.size == size:
                return OpenChunk(fd, identity, began)
            if (
                0 < identity.size <= CHUNK_BYTES_MAX
                and read_proven(fd, digest, identity.size, self.disk.unreadable) is not None
            ):
                return OpenChunk(fd, identity, began)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _missing(self, digest: bytes, entry: ChunkEntry, began: float) -> bool:
        """Its file was not there; False if that was not the one that is listed now."""
        listed = self._same(digest, entry, began)
        if listed:
            self._departures.ask_holders(digest)
            self._entries.remove(digest, freed=0)
            self._meter.inc(CHUNKS_MISSING)
        return listed

    def _damaged(self, digest: bytes, entry: ChunkEntry, began: float) -> bool:
        """Its file was damaged; False if that was not the one that is listed now."""
        listed = self._same(digest, entry, began)
        if listed:
            self._departures.expel(digest, entry.cost, entry.owner)
        return listed

    def _same(self, digest: bytes, entry: ChunkEntry, began: float) -> bool:
        """Whether what is listed now is the file that was looked at since then.

        It may have been used meanwhile; or set aside, fetched again and stored, which proves it.
        """
        now = self._entry(digest)
        proof = self._proofs.known(digest, time.monotonic())
        return (
            now is not None
            and now._replace(place=entry.place) == entry
            and (proof is None or proof.at < began)
        )

    # --- checking ---------------------------------------------------------------------------------

    async def check(self, digest: bytes, threads: Threads) -> Checked:
        """Read a chunk from the disk itself, whatever is in memory; set it aside if it is damaged.

        Nothing else changes: it is not protected, used or believed any longer for that.
        """
        self._check_open()
        entry = self._entry(digest)
        if entry is None:
            return Checked(Verdict.GONE)
        began = time.monotonic()
        try:
            size, right = await threads.run(self._files.check, digest)
        except ChunkLostError:
            there = self._missing(digest, entry, began)
            return Checked(Verdict.MISSING if there else Verdict.GONE)
        except StorageError as error:
            log.warning("chunk %s: %s", digest.hex(), error)
            return Checked(Verdict.UNREADABLE)
        if right:
            return Checked(Verdict.RIGHT, size)
        there = self._damaged(digest, entry, began)
        return Checked(Verdict.DAMAGED if there else Verdict.GONE, size)

    # --- who needs what ---------------------------------------------------------------------------

    def hold(self, digest: bytes, holder: Hashable) -> None:
        """One more descriptor of a chunk is open at the holder, who may be asked to close it."""
        if digest not in self._zeros and self._holds.hold(digest, holder):
            self._departures.held(digest, holder)

    def release(self, digest: bytes, holder: Hashable, count: int = 1) -> None:
        """The holder has closed so many descriptors of a chunk."""
        self._holds.release(digest, holder, count)
        self._departures.freed(digest)

    def forget_holder(self, holder: Hashable) -> None:
        """The holder is gone, and with it all that it had open."""
        for digest in self._holds.forget(holder):
            self._departures.freed(digest)

    def protect(self, digest: bytes) -> None:
        """Do not evict a chunk; undone by as many `unprotect`."""
        self._holds.protect(digest)

    def unprotect(self, digest: bytes) -> None:
        """Undo one `protect`."""
        self._holds.unprotect(digest)
        self._departures.freed(digest)


def _close_opened(job: asyncio.Future[OpenChunk | None]) -> None:
    if job.exception() is None and (opened := job.result()) is not None:
        os.close(opened.fd)
