"""The use case of an operator who evicts: images lose their chunks, but for what others have too."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet

from cacheproxy.admin.results import Evicted, EvictResult
from cacheproxy.fill.flights import Flights
from cacheproxy.fill.forgetting import listed, unlisted
from cacheproxy.inspection import Inspection, Known, OperationError
from cacheproxy.store.chunkstore import ChunkStore

HELD_LOOK_SECONDS = 0.05  # between two looks whether evicted chunks are still held ...
HELD_LOOKS_MAX = 20


class Eviction:
    """One eviction; `run` is its life.  `whole`: also what other images have."""

    def __init__(
        self, inspection: Inspection, flights: Flights, store: ChunkStore, *, whole: bool
    ) -> None:
        self._inspection = inspection
        self._flights = flights
        self._store = store
        self._whole = whole
        self._counts: dict[str, Counter[str]] = {}  # by content: what became of its chunks

    async def run(self, image_ids: Sequence[str]) -> EvictResult:
        """Drop the chunks of these images; tells what became of each image."""
        found: dict[str, Known] = {}
        refused: list[Evicted] = []
        for image_id in image_ids:
            try:
                found[image_id] = self._evictable(image_id)
            except OperationError as error:
                refused.append(Evicted(image=image_id, error=str(error)))
        self._counts = {known.key: Counter() for known in found.values()}
        going = set(self._counts)
        if not self._whole:
            going -= await self._bound_elsewhere(found.keys())
        async for block in listed(self._store, self._counts):
            await self._drop(block, going)
        told: list[Evicted] = []
        for image_id, known in found.items():
            # Of several images with one content the first has the figures.
            told.append(_told(image_id, self._counts.pop(known.key, Counter())))
        return EvictResult(images=[*told, *refused])

    def _evictable(self, image_id: str) -> Known:
        known = self._inspection.known(image_id)
        if image_id in self._flights.pins:
            raise OperationError("refused", "it is pinned: unpin it first")
        if self._flights.filling(known.key) is not None:
            raise OperationError(
                "refused", "it is being fetched now; evict it when that is done (see status)"
            )
        return known

    async def _bound_elsewhere(self, besides: AbstractSet[str]) -> set[str]:
        """Return those of the contents that images have which are not among `besides`."""
        return {
            record.content
            async for image_id, record in self._store.images()
            if record.content in self._counts and image_id not in besides
        }

    async def _drop(self, block: Mapping[bytes, str], going: AbstractSet[str]) -> None:
        """Drop those of a block that only the contents list which go."""
        survey, counts = self._store.survey, self._counts
        stored: list[bytes] = []
        async for part in survey.standings(block):
            stored += [digest for digest, now in part if now.cost and not now.going]
        free = set(stored)
        if not self._whole:
            free = await unlisted(self._store, stored, besides=going)
        dropped: dict[bytes, int] = {}
        async for part in survey.standings(stored):
            drop = {}
            for digest, now in part:
                if digest not in free or now.pinned:
                    counts[block[digest]]["shared_chunks"] += 1
                    counts[block[digest]]["shared_disk_bytes"] += now.cost
                elif now.protected:
                    counts[block[digest]]["busy_chunks"] += 1
                else:
                    drop[digest] = now.cost
            await self._store.drop(drop)
            dropped |= drop
        held = await self._patience(dropped)
        for digest, cost in dropped.items():
            state = "held" if digest in held else "dropped"
            of_content = counts[block[digest]]
            of_content[f"{state}_chunks"] += 1
            of_content[f"{state}_disk_bytes"] += cost

    async def _patience(self, digests: Collection[bytes]) -> set[bytes]:
        """Wait a little for workers to close what they keep open; returns what is still held."""
        held = set(digests)
        for looks in range(HELD_LOOKS_MAX):
            if looks:
                await asyncio.sleep(HELD_LOOK_SECONDS)
            async for part in self._store.survey.standings(held):
                held.difference_update(digest for digest, now in part if not now.going)
            if not held:
                break
        return held


def _told(image_id: str, counts: Counter[str]) -> Evicted:
    return Evicted(
        image=image_id,
        dropped_chunks=counts["dropped_chunks"],
        dropped_disk_bytes=counts["dropped_disk_bytes"],
        held_chunks=counts["held_chunks"],
        held_disk_bytes=counts["held_disk_bytes"],
        shared_chunks=counts["shared_chunks"],
        shared_disk_bytes=counts["shared_disk_bytes"],
        busy_chunks=counts["busy_chunks"],
    )
