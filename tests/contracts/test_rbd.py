"""The RBD driver on a real Ceph."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contracts.rbd import rbd_subject
from contracts.store import PruneContract
from contracts.subject import Subject
from harness.ceph import Ceph


class TestRbd(PruneContract):
    @pytest.fixture
    async def subject(self, ceph: Ceph) -> AsyncIterator[Subject]:
        async with rbd_subject(ceph) as subject:
            yield subject
