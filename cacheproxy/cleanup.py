"""The use case of an operator who cleans up: records and chunks that nobody needs any more."""

from __future__ import annotations

from cacheproxy.admin.results import GcResult
from cacheproxy.core.manifest import private_image
from cacheproxy.fill.flights import Flights
from cacheproxy.fill.forgetting import BLOCK_DIGESTS, unlisted
from cacheproxy.inspection import Inspection, Known
from cacheproxy.store.chunkstore import ChunkStore

CONTENTS_AT_ONCE = 4096  # keys held in memory while images are looked through
COMMITTED_AT_ONCE = 64  # of those, forgotten before the loop gets its turn


class Cleanup:
    """One pass; `run` is its life."""

    def __init__(self, inspection: Inspection, flights: Flights, store: ChunkStore) -> None:
        self._inspection = inspection
        self._flights = flights
        self._store = store

    async def run(self) -> GcResult:
        """Remove records and chunks that nobody needs, and what was set aside as damaged."""
        images = await self._forget_images()
        contents = await self._forget_contents()
        chunks, cost = await self._drop_unlisted()
        return GcResult(
            images=images,
            contents=contents,
            chunks=chunks,
            chunk_disk_bytes=cost,
            quarantine_disk_bytes=await self._store.empty_quarantine(),
        )

    async def _forget_images(self) -> int:
        """Remove the records of images whose content is not known any more."""
        forgotten = 0
        async for image_id, record in self._store.images():
            if self._store.content(record.content) is None:
                self._store.forget_image(image_id)
                forgotten += 1
        return forgotten

    async def _forget_contents(self) -> int:
        """Remove the records of contents that no image has, no fill uses, no chunk is left of."""
        forgotten = 0
        unneeded: set[str] = set()

        async def forget() -> int:
            async for _, record in self._store.images():
                unneeded.discard(record.content)
            count = 0
            for number, key in enumerate(unneeded, 1):
                if not self._flights.uses(key):
                    self._flights.contents.pages.forget(key)
                    count += 1
                if number % COMMITTED_AT_ONCE == 0:
                    await (
                        self._store.sync()
                    )  # what is not committed yet is looked through each time
            unneeded.clear()
            return count

        async for key, content in self._store.contents():
            image_id = private_image(key)
            if self._flights.uses(key):
                continue
            if image_id is not None and not content.proven:
                there = await self._inspection.chunk_map(Known.recorded(image_id, key, content))
                if there.present:
                    continue  # a fill that was cut short goes on from here
            unneeded.add(key)
            if len(unneeded) == CONTENTS_AT_ONCE:
                forgotten += await forget()
        return forgotten + await forget()

    async def _drop_unlisted(self) -> tuple[int, int]:
        """Drop chunks that no content lists; how many, and their bytes on disk.

        Not while anything is filled: what a fill stores is listed a little later.
        """
        dropped = cost = 0
        block: list[bytes] = []

        async def drop() -> None:
            nonlocal dropped, cost
            calm = self._flights.calm()
            left = await unlisted(self._store, block)
            block.clear()
            if calm is None or calm != self._flights.calm():
                return
            async for part in self._store.survey.standings(left):
                costs = {digest: now.cost for digest, now in part if now.cost and not now.protected}
                await self._store.drop(costs)
                dropped, cost = dropped + len(costs), cost + sum(costs.values())

        async for digests in self._store.survey.chunks():
            block += digests
            if len(block) >= BLOCK_DIGESTS:
                await drop()
        await drop()
        return dropped, cost
