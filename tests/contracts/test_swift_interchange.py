"""glance_store and our driver on one Swift: what one of them wrote, the other reads and deletes."""

from __future__ import annotations

import asyncio
import configparser
import secrets
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import pytest

from backends.location import Location
from backends.spans import Span
from backends.swift.options import MEGABYTE
from backends.swift.settings import swift_options
from backends.swift.store import SwiftStore
from contracts.subject import pattern, read, write
from contracts.swift import ACCOUNT_KEY, ACCOUNT_USER, Container, opened
from harness.glance_store import GlanceStore, glance_store
from harness.swift import Swift

# What operators have, but for the addresses, the passwords and the container's name.
GLANCE_API = """
[glance_store]
stores = swift,http
default_store = swift
default_swift_reference = swift_image_store
swift_store_auth_insecure = False
swift_store_auth_address = {keystone}
swift_store_endpoint_type = internalURL
swift_store_container = {container}
{file}
swift_store_user = {user}
swift_store_key = {key}
swift_store_large_object_size = {large}
swift_store_large_object_chunk_size = {segment}
swift_store_create_container_on_put = True
swift_store_region = RegionOne
swift_store_retry_get_count = 5
"""
ACCOUNTS = """
[swift_image_store]
user = {user}
key = {key}
user_domain_id = default
project_domain_id = default
auth_version = 3
auth_address = {keystone}
"""
LARGE = 2 * MEGABYTE + 12345


@dataclass(frozen=True)
class Theirs:
    """glance_store, the options that it has, and the container where its images go."""

    store: GlanceStore
    options: Mapping[str, str]
    container: Container


@pytest.fixture(scope="module", params=["file", "flat"])
def theirs(
    swift: Swift, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Theirs]:
    directory = tmp_path_factory.mktemp("theirs")
    values = {"keystone": swift.keystone.url, "user": ACCOUNT_USER, "key": ACCOUNT_KEY}
    accounts = directory / "accounts.conf"
    accounts.write_text(ACCOUNTS.format(**values))
    container = Container(swift, f"images-{secrets.token_hex(4)}")
    file = f"swift_store_config_file = {accounts}" if request.param == "file" else ""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(
        GLANCE_API.format(container=container.name, file=file, large=1, segment=1, **values)
    )
    options = dict(parser["glance_store"])
    with glance_store(directory, options) as store:
        yield Theirs(store, options, container)
    container.remove()


@pytest.fixture
async def ours(theirs: Theirs) -> AsyncIterator[SwiftStore]:
    async with opened(await asyncio.to_thread(swift_options, theirs.options)) as store:
        yield store
    assert theirs.container.names() == set()


@pytest.mark.parametrize("size", [1, LARGE])
async def test_what_glance_store_wrote(theirs: Theirs, ours: SwiftStore, size: int) -> None:
    content = pattern(size)
    # Of a known size that its segments do not divide, glance_store announces too long a last one.
    uri = theirs.store.add(str(uuid.uuid4()), content, tell_size=size == 1)
    location = Location(uri)
    assert len(theirs.container.names()) == (1 if size == 1 else 4)
    assert (await ours.stat(location)).size == size
    assert await read(ours, location) == content
    for start, stop in ((0, 1), (MEGABYTE - 1, MEGABYTE + 1), (2 * MEGABYTE, size), (5, LARGE + 1)):
        if start < stop:
            assert await read(ours, location, Span(start, stop)) == content[start:stop]
    await ours.delete(location)


@pytest.mark.parametrize("size", [1, LARGE])
async def test_what_we_wrote(theirs: Theirs, ours: SwiftStore, size: int) -> None:
    content = pattern(size)
    location = await write(ours, str(uuid.uuid4()), content)
    theirs.store.check(location.uri, content)
    theirs.store.delete(location.uri)


async def test_the_same_locations(theirs: Theirs, ours: SwiftStore) -> None:
    name = str(uuid.uuid4())
    location = Location(theirs.store.add(name, b"x"))
    assert ours._accounts.new_location(name) == location
    await ours.delete(location)
