"""The use case of an operator who doubts: chunks are read from the disk and hashed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from cacheproxy.admin.results import Progress, Verified, VerifyResult
from cacheproxy.fill.forgetting import listed
from cacheproxy.inspection import Inspection, Known, OperationError
from cacheproxy.store.chunkstore import ChunkStore
from cacheproxy.store.verification import Verification
from cacheproxy.watch import Watch

BAD_TOLD_MAX = 100


class Checking:
    """One verification; `run` is its life."""

    def __init__(self, inspection: Inspection, store: ChunkStore, watch: Watch) -> None:
        self._inspection = inspection
        self._store = store
        self._watch = watch
        self._found = Verification(total=0)  # all of it so far, but for what runs now
        self._running = Verification(total=0)
        self._bad: list[str] = []

    async def run(self, image_ids: Sequence[str]) -> VerifyResult:
        """Check the chunks of images, one after the other; of the whole cache where none is named."""
        began = time.monotonic()
        images: list[Verified] = []
        if not image_ids:
            self._show("", self._store.survey.figures().chunks)
            await self._check(None)
        for image_id in image_ids:
            try:
                images.append(await self._image(self._inspection.known(image_id)))
            except OperationError as error:
                images.append(Verified(image=image_id, error=str(error)))
        found = self._found
        return VerifyResult(
            images=images,
            chunks=found.chunks - found.gone,
            read_bytes=found.read_bytes,
            damaged_chunks=found.damaged,
            missing_chunks=found.missing,
            unreadable_chunks=found.unreadable,
            bad=self._bad,
            seconds=time.monotonic() - began,
        )

    async def _image(self, known: Known) -> Verified:
        self._show(known.image_id, (await self._inspection.chunk_map(known)).present_bytes)
        chunks = bad = 0
        async for block in listed(self._store, [known.key]):
            stored: list[bytes] = []
            async for part in self._store.survey.standings(block):
                stored += [digest for digest, now in part if now.cost]
            found = await self._check(stored)
            chunks += found.chunks - found.gone
            bad += found.damaged + found.missing + found.unreadable
        return Verified(image=known.image_id, chunks=chunks, bad_chunks=bad)

    async def _check(self, digests: Iterable[bytes] | None) -> Verification:
        try:
            found = await self._store.verify(digests, self._note)
        finally:
            self._running = Verification(total=0)
        whole = self._found
        whole.chunks += found.chunks
        whole.read_bytes += found.read_bytes
        whole.damaged += found.damaged
        whole.missing += found.missing
        whole.unreadable += found.unreadable
        whole.gone += found.gone
        room = BAD_TOLD_MAX - len(self._bad)
        self._bad += [digest.hex() for digest in found.bad[:room]]
        return found

    def _note(self, found: Verification) -> None:
        self._running = found

    def _show(self, image_id: str, total: int) -> None:
        """Let it be seen how far this image is."""
        before = self._found.read_bytes

        def look() -> Progress:
            done = self._found.read_bytes + self._running.read_bytes - before
            return Progress(
                image=image_id, phase="hash", done_bytes=min(done, total), total_bytes=total
            )

        self._watch.look = look
