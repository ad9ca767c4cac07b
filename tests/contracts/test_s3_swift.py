"""The S3 driver against the s3api of a real Swift."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contracts.s3 import IN_PARTS, opened, refuses_other_bytes, s3_subject
from contracts.store import PruneContract
from contracts.subject import Subject
from harness.keystone import MEMBER
from harness.swift import Swift


@pytest.fixture(scope="module")
def keys(swift: Swift) -> tuple[str, str]:
    return swift.ec2_keys(MEMBER)


class TestSwift(PruneContract):
    # Objects of up to a piece are written in one request, all others in parts.

    @pytest.fixture
    async def subject(self, swift: Swift, keys: tuple[str, str]) -> AsyncIterator[Subject]:
        access, secret = keys
        async with opened(swift.url, access_key=access, secret_key=secret, **IN_PARTS) as store:
            await store._check_bucket(await store._client.get())
            yield s3_subject(store)

    async def test_other_bytes_than_were_signed(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await refuses_other_bytes(subject, monkeypatch)
