"""The way of a fill's chunks into the store: room, hash, file, and the note that they came."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.ledger import allocated
from cacheproxy.errors import (
    InvalidChunkError,
    NoRoomError,
    ProofFailedError,
    StorageError,
    UpstreamLiesError,
)
from cacheproxy.fill.content import Content
from cacheproxy.fill.leg import Leg
from cacheproxy.fill.ports import FillPorts
from cacheproxy.fill.wanted import Wanted
from cacheproxy.store.chunkstore import Reservation, Stored

log = logging.getLogger(__name__)

SAVE_EVERY_CHUNKS = 64
DISK_SECONDS_MAX = 30.0  # the longest wait for the disk to take one chunk
WRONG_CHUNKS_MAX = 3  # of a proven content, in one leg: then it is not worth its bytes


class Stowage:
    """Puts the chunks of one fill away.

    `on_news` is told of each that came, right or wrong, and whether it was wanting.
    """

    def __init__(
        self,
        facts: ImageFacts,
        content: Content,
        ports: FillPorts,
        wanted: Wanted,
        on_news: Callable[[int, bool], None],
    ) -> None:
        self._facts = facts
        self._content = content
        self._learning = not content.proven
        self._ports = ports
        self._wanted = wanted
        self._on_news = on_news
        self._reservation: Reservation | None = None
        self._protected: dict[int, bytes] = {}
        self._fresh: set[bytes] = set()
        self._learnt = 0

    def __repr__(self) -> str:
        return f"<Stowage of {self._content.key}: {len(self._fresh)} new>"

    def disown(self, digest: bytes) -> None:
        """Another fill stores the same chunk: it stays, whatever becomes of this fill."""
        self._fresh.discard(digest)

    # --- room -------------------------------------------------------------------------------------

    async def begin_learning(self) -> None:
        """Protect what is there already and reserve room for the rest."""
        grid, absent = self._content.grid, 0
        for index in range(grid.count):
            digest = self._content.manifest.digest(index)
            if digest is not None and self._ports.store.has(digest):
                self._protect(index, digest)
                self._wanted.came(index)
            else:
                absent += len(grid.chunk(index))
            if index % 1024 == 1023:
                await asyncio.sleep(0)  # a long manifest must not hold the loop
        if absent:
            self._reservation = await self._ports.store.reserve(absent, self._facts.owner)

    def _protect(self, index: int, digest: bytes) -> None:
        if index not in self._protected:
            self._protected[index] = digest
            self._ports.store.protect(digest)

    async def room_for(self, leg: Leg) -> tuple[Reservation, bool]:
        """Return room for a leg's absent chunks, and whether it is the whole fill's."""
        if self._reservation is not None:
            return self._reservation, True
        grid = self._content.grid
        absent = sum(
            allocated(len(grid.chunk(index)))
            for index in range(leg.first, leg.stop)
            if not self._content.present(index)
        )
        return await self._ports.store.reserve(absent, self._facts.owner), False

    async def close(self, *, discard: bool) -> None:
        """Give everything back; `discard` what was learnt, because it is wrong."""
        for digest in self._protected.values():
            self._ports.store.unprotect(digest)
        self._protected.clear()
        if self._reservation is not None:
            self._reservation.close()
        try:
            if discard and self._learning:
                self._content.discard()
                await self._ports.store.drop(self._fresh)
            elif not self._content.proven:
                self._content.save()
        except StorageError as error:
            log.warning("what a fill of %s learnt is lost: %s", self._content.key, error)
        finally:
            self._fresh.clear()

    # --- chunks -----------------------------------------------------------------------------------

    async def land(self, leg: Leg, index: int, chunk: memoryview, reservation: Reservation) -> None:
        """Hash, store and announce a chunk."""
        content = self._content
        known = content.manifest.digest(index)
        if known is None and not self._learning and leg.credential is not None:
            await self._ports.manifests.know(content, index, leg.stop, leg.credential)
            known = content.manifest.digest(index)
        was_there = content.present(index)
        if not was_there:
            # Now, because a reader may have it as soon as it is listed; and again when it has come.
            content.landed.note(index, self._ports.tick())
        try:
            stored = await self._put(chunk, reservation, known)
            if self._learning:
                content.manifest.learn(index, stored.digest)
        except (InvalidChunkError, ValueError) as error:
            if self._learning:
                raise ProofFailedError(f"chunk {index} is not what it was") from error
            self._refuse(leg, index)
            return
        except TimeoutError as error:
            raise StorageError("the disk takes no chunk") from error
        if self._learning:
            self._protect(index, stored.digest)
            self._wanted.came(index)
            self._learnt += 1
            if self._learnt % SAVE_EVERY_CHUNKS == 0:
                content.save()
        if stored.new:
            self._fresh.add(stored.digest)
        else:
            self._ports.shared(self, stored.digest)
        if not was_there:
            content.landed.note(index, self._ports.tick())
            content.arrived_bytes += len(chunk)
        leg.landed.add(index)
        if stored.digest in leg.claims:
            leg.claims.remove(stored.digest)
            self._ports.inflight.release(stored.digest)
        self._on_news(index, not was_there)

    def _refuse(self, leg: Leg, index: int) -> None:
        """What came for a chunk is not what a proven manifest names; the leg goes on without it."""
        log.warning("chunk %d of %s came with wrong bytes", index, self._content.key)
        if leg.shortcut is not None:
            leg.shortcut.doubt()  # before the chunk is asked for again
        self._wanted.refuse(index)
        leg.landed.add(index)
        leg.wrong += 1
        self._on_news(index, False)
        if leg.wrong >= WRONG_CHUNKS_MAX:
            raise UpstreamLiesError("the image's data is not what its manifest says")

    async def _put(self, data: memoryview, reservation: Reservation, known: bytes | None) -> Stored:
        store = self._ports.store
        pinned = self._ports.pinned(self._facts, self._content)
        put = partial(store.put, data, sealed_by=known, pinned=pinned)
        async with asyncio.timeout(DISK_SECONDS_MAX):
            try:
                return await put(reservation=reservation)
            except NoRoomError:
                # Reserved for what was absent; this chunk was found damaged since.
                reservation = await store.reserve(len(data), self._facts.owner)
                try:
                    return await put(reservation=reservation)
                finally:
                    reservation.close()
