"""The S3 driver against Ceph's own gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contracts.s3 import IN_PARTS, opened, refuses_other_bytes, s3_subject
from contracts.store import PruneContract
from contracts.subject import Subject
from harness.ceph import Gateway


class TestRadosgw(PruneContract):
    # Objects of up to a piece are written in one request, all others in parts.

    @pytest.fixture
    async def subject(self, radosgw: Gateway) -> AsyncIterator[Subject]:
        keys = {"access_key": radosgw.access_key, "secret_key": radosgw.secret_key}
        async with opened(radosgw.url, **keys, **IN_PARTS) as store:
            await store._check_bucket(await store._client.get())
            yield s3_subject(store)

    async def test_other_bytes_than_were_signed(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await refuses_other_bytes(subject, monkeypatch)
