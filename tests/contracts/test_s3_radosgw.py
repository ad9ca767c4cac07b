"""The S3 driver against Ceph's own gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.s3.store import S3Store
from contracts.s3 import IN_PARTS, opened, refuses_other_bytes, s3_subject
from contracts.store import PruneContract
from contracts.subject import Subject
from harness.ceph import Gateway

DOCUMENT = Path(__file__).parents[2] / "docs/stores.md"


class TestRadosgw(PruneContract):
    # Objects of up to a piece are written in one request, all others in parts.

    @pytest.fixture
    async def subject(self, radosgw: Gateway) -> AsyncIterator[Subject]:
        keys = {"access_key": radosgw.access_key, "secret_key": radosgw.secret_key}
        async with opened(radosgw.url, **keys, **IN_PARTS) as store:
            await store._check_bucket(await store._client.get())
            yield s3_subject(store)

    async def test_the_rule_that_operators_are_told(self, subject: Subject) -> None:
        documented = DOCUMENT.read_text().partition("--lifecycle-configuration '")[2]
        rules = json.loads(documented.partition("'")[0])
        store = subject.store
        assert isinstance(store, S3Store)
        client = await store._client.get()
        await client.put_bucket_lifecycle_configuration(
            Bucket=store._options.bucket, LifecycleConfiguration=rules
        )
        kept = await client.get_bucket_lifecycle_configuration(Bucket=store._options.bucket)
        assert kept["Rules"][0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}

    async def test_other_bytes_than_were_signed(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await refuses_other_bytes(subject, monkeypatch)
