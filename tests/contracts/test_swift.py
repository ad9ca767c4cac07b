"""The Swift driver on the real Swift, with the real Keystone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backends.swift.store import SwiftStore
from contracts.store import PruneContract, ReadContract
from contracts.subject import PIECE, Subject, pattern, read
from contracts.swift import swift_subject
from harness.swift import Swift


class TestPlainObjects(PruneContract):
    @pytest.fixture
    async def subject(self, swift: Swift) -> AsyncIterator[Subject]:
        async with swift_subject(swift) as subject:
            yield subject


class TestSegments(PruneContract):
    """Everything that has more than some bytes is a large object."""

    @pytest.fixture
    async def subject(self, swift: Swift) -> AsyncIterator[Subject]:
        changed = {"large_object_bytes": 2, "segment_bytes": PIECE - 1, "verify_uploads": True}
        async with swift_subject(swift, **changed) as subject:
            yield subject


class TestLongReads(ReadContract):
    """Everything is read in short ranges, always three of them at once."""

    @pytest.fixture
    async def subject(
        self, swift: Swift, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Subject]:
        monkeypatch.setattr("backends.swift.stream._WAITS", -1)
        changed = {"large_object_bytes": 2, "segment_bytes": 3 * PIECE - 1}
        ranges = {"range_bytes": 2 * PIECE - 1, "ranges_at_once": 3}
        async with swift_subject(swift, **changed, **ranges) as subject:
            yield subject


@pytest.mark.parametrize("pieces", [1, 3, 20])
@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("known", [True, False])
async def test_any_buffer_is_enough(swift: Swift, pieces: int, at_once: int, known: bool) -> None:
    """Segments that end within pieces, more of them than the buffer holds."""
    changed = {
        "large_object_bytes": 2,
        "segment_bytes": 2500,
        "upload_buffer_bytes": 1000 * pieces,
        "segments_at_once": at_once,
    }
    content = pattern(30_000)
    async with swift_subject(swift, **changed) as subject:
        store = subject.store
        assert isinstance(store, SwiftStore)
        async with store.create("image", len(content) if known else None) as writer:
            await writer.write(content)
            location = (await writer.commit()).location
        assert len(await subject.leftovers()) == 13
        assert await read(store, location) == content
        await store.delete(location)
        assert await subject.leftovers() == set()


async def test_more_segments_than_a_listing_has(
    swift: Swift, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("client", "large"):
        monkeypatch.setattr(f"backends.swift.{module}.LISTING_PAGE", 4)
    content = pattern(25_000)
    async with swift_subject(swift, large_object_bytes=2, segment_bytes=1000) as subject:
        location = await subject.place(content)
        assert len(await subject.leftovers()) == 26
        assert await read(subject.store, location) == content
        assert isinstance(subject.store, SwiftStore)
        await subject.store.delete(location)
        assert await subject.leftovers() == set()
