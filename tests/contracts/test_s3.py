"""The S3 driver against moto's server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from contracts.s3 import IN_PARTS, opened, s3_subject
from contracts.store import PruneContract
from contracts.subject import Subject
from harness.moto import running_moto


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


class TestInOneRequest(PruneContract):
    @pytest.fixture
    async def subject(self, moto: str) -> AsyncIterator[Subject]:
        async with opened(moto) as store:
            await store._check_bucket(await store._client.get())
            yield s3_subject(store)


class TestInParts(PruneContract):
    @pytest.fixture
    async def subject(self, moto: str) -> AsyncIterator[Subject]:
        async with opened(moto, **IN_PARTS) as store:
            await store._check_bucket(await store._client.get())
            yield s3_subject(store)
