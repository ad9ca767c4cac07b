"""The Swift driver on the real Swift, with the real Keystone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contracts.store import PruneContract
from contracts.subject import PIECE, Subject
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
        async with swift_subject(swift, large_object_bytes=2, segment_bytes=PIECE - 1) as subject:
            yield subject
