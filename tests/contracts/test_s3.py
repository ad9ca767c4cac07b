"""The S3 driver against moto's server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.errors import UnavailableError
from backends.location import Location
from contracts.nginx import make_certificates
from contracts.s3 import IN_PARTS, SECRET, left_in, opened, s3_subject
from contracts.store import PruneContract, ReadContract
from contracts.subject import Subject, read, write
from harness.moto import running_moto


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@dataclass(frozen=True)
class Secure:
    """Moto over TLS, and the authority that its certificate is from."""

    url: str
    ca_file: Path


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    directory = tmp_path_factory.mktemp("secure")
    make_certificates(directory)
    with running_moto(directory, tls=True) as url:
        yield Secure(url, directory / "ca.pem")


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


class TestOldLocationsOverTls(ReadContract):
    """As Glance wrote them before its release of 2026: with the keys, which nobody may see."""

    @pytest.fixture
    async def subject(self, secure: Secure) -> AsyncIterator[Subject]:
        async with opened(secure.url, ca_file=secure.ca_file) as store:
            await store._check_bucket(await store._client.get())
            subject = s3_subject(store)

            async def put(name: str, content: bytes) -> Location:
                location = await write(store, name, content)
                return Location(location.uri.replace("://", f"://access:{SECRET}@", 1))

            subject.put = put
            subject.secrets = ("access", SECRET)
            yield subject


async def test_an_authority_that_is_not_trusted(secure: Secure) -> None:
    location = Location(secure.url.replace("https", "s3+https") + "/images/image")
    async with opened(secure.url) as store:
        for operation in (read(store, location), store.stat(location), store.delete(location)):
            with pytest.raises(UnavailableError, match="no trusted TLS connection"):
                await operation


async def test_parts_that_nobody_goes_on_with(moto: str) -> None:
    async with opened(moto, bucket="left") as store:
        client = await store._client.get()
        await store._check_bucket(client)
        for key in ("image", "image", "images"):
            begun = await client.create_multipart_upload(Bucket="left", Key=key)
            upload = {"Bucket": "left", "Key": key, "UploadId": begun["UploadId"]}
            await client.upload_part(**upload, PartNumber=1, Body=b"x")
        assert await store.clear("image") == 2
        assert await left_in(store) == {"upload of images"}
        assert await store.clear("images") == 1
        assert await left_in(store) == set()


async def test_clearing_a_bucket_that_is_not_there(moto: str) -> None:
    async with opened(moto, bucket="nowhere") as store:
        assert await store.clear("image") == 0
