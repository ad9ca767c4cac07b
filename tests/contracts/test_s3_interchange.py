"""What Glance's own S3 driver wrote we read and delete, and the other way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing

import pytest

from backends.location import Location
from backends.s3.location import Address
from backends.s3.options import MIB, s3_options
from backends.s3.store import S3Store
from backends.spans import Span
from contracts.s3 import left_in
from contracts.subject import pattern, read, write
from harness.ceph import Gateway
from harness.glance_store import GlanceStore, glance_store
from harness.keystone import MEMBER
from harness.moto import running_moto
from harness.swift import Swift

SIZES = (0, 1, MIB, 12 * MIB + 1)  # the last in parts


@pytest.fixture(scope="module", params=["moto", "swift", "radosgw"])
def options(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Return the options of a store, as they stand in Glance's configuration."""
    match request.param:
        case "swift":
            swift: Swift = request.getfixturevalue("swift")
            yield section(swift.url, *swift.ec2_keys(MEMBER)) | {
                "s3_store_region_name": "us-east-1"
            }
        case "radosgw":
            gateway: Gateway = request.getfixturevalue("radosgw")
            yield section(gateway.url, gateway.access_key, gateway.secret_key)
        case _:
            with running_moto(tmp_path_factory.mktemp("moto")) as url:
                yield section(url, "access", "se/cret")


def section(host: str, access_key: str, secret_key: str) -> dict[str, str]:
    return {
        "stores": "s3",
        "default_store": "s3",
        "s3_store_host": host,
        "s3_store_access_key": access_key,
        "s3_store_secret_key": secret_key,
        "s3_store_bucket": "interchange",
        "s3_store_create_bucket_on_put": "True",
        "s3_store_large_object_size": "5",
        "s3_store_large_object_chunk_size": "5",
    }


@pytest.fixture(scope="module")
def theirs(
    options: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GlanceStore]:
    with glance_store(tmp_path_factory.mktemp("theirs"), options) as theirs:
        yield theirs


async def test_what_glance_wrote(options: dict[str, str], theirs: GlanceStore) -> None:
    async with aclosing(S3Store(s3_options(options))) as store:
        for size in SIZES:
            content = pattern(size)
            location = Location(theirs.add(f"image-{size}", content))
            assert location == store._endpoint.location(Address("interchange", f"image-{size}"))
            assert (await store.stat(location)).size == size
            assert await read(store, location) == content
            for span in (Span(0, 1), Span(5 * MIB - 1, 5 * MIB + 1), Span.since(10 * MIB - 3)):
                assert await read(store, location, span) == content[span.start : span.stop]
            await store.delete(location)
        unknown = Location(theirs.add("unknown", pattern(MIB), tell_size=False))
        assert await read(store, unknown) == pattern(MIB)
        await store.delete(unknown)
        assert await left_in(store) == set()


async def test_what_we_wrote(options: dict[str, str], theirs: GlanceStore) -> None:
    async with aclosing(S3Store(s3_options(options))) as store:
        for size in SIZES:
            content = pattern(size)
            location = await write(store, f"image-{size}", content)
            theirs.check(location.uri, content)
            theirs.delete(location.uri)
        assert await left_in(store) == set()
