"""glance_store and our driver on one Ceph: what one of them wrote, the other reads and deletes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.location import Location
from backends.rbd.options import rbd_options
from backends.spans import Span
from contracts.rbd import left_in, opened
from contracts.subject import pattern, read, write
from harness.ceph import Ceph, require_bindings
from harness.glance_store import GlanceStore, glance_store
from harness.services import python_of, run_tool

if TYPE_CHECKING:
    from backends.rbd.store import RbdStore

MIB = 1 << 20
# What operators have, but for the address.
OPTIONS = {
    "stores": "rbd,http",
    "default_store": "rbd",
    "rbd_store_chunk_size": "1",
    "rbd_store_user": "glance",
    "rados_connect_timeout": "20",
}
SIZES = [0, 1, 3 * MIB, 3 * MIB + 12345]


@dataclass(frozen=True)
class Theirs:
    """glance_store, and the options that it has."""

    store: GlanceStore
    options: Mapping[str, str]


@pytest.fixture(scope="module", params=["thick", "thin"])
def theirs(
    ceph: Ceph, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Theirs]:
    require_bindings(python_of("glance"))
    options = {
        **OPTIONS,
        "rbd_store_pool": ceph.pool,
        "rbd_store_ceph_conf": str(ceph.configuration),
        "rbd_thin_provisioning": str(request.param == "thin"),
    }
    with glance_store(tmp_path_factory.mktemp("theirs"), options) as store:
        yield Theirs(store, options)


@pytest.fixture
async def ours(theirs: Theirs) -> AsyncIterator[RbdStore]:
    options = await asyncio.to_thread(rbd_options, theirs.options)
    async with opened(options) as store:
        yield store
        assert await left_in(store) == set()


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("size", SIZES)
async def test_what_glance_store_wrote(
    theirs: Theirs, ours: RbdStore, size: int, told: bool
) -> None:
    content = pattern(size)
    location = Location(theirs.store.add(str(uuid.uuid4()), content, tell_size=told))
    assert (await ours.stat(location)).size == size
    assert await read(ours, location) == content
    for start, stop in ((0, 1), (MIB - 1, MIB + 1), (2 * MIB, size), (5, size + 1)):
        if start < stop:
            assert await read(ours, location, Span(start, stop)) == content[start:stop]
    await ours.delete(location)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("size", SIZES)
async def test_what_we_wrote(theirs: Theirs, ours: RbdStore, size: int, told: bool) -> None:
    content = pattern(size)
    async with ours.create(str(uuid.uuid4()), size if told else None) as writer:
        await writer.write(content)
        location = (await writer.commit()).location
    theirs.store.check(location.uri, content)
    theirs.store.delete(location.uri)


async def test_the_same_locations(theirs: Theirs, ours: RbdStore) -> None:
    name = str(uuid.uuid4())
    location = Location(theirs.store.add(name, b"x"))
    await ours.delete(location)
    assert await write(ours, name, b"x") == location
    theirs.store.delete(location.uri)


async def test_the_same_images(theirs: Theirs, ours: RbdStore, ceph: Ceph) -> None:
    """Format, object size, features and the protected snapshot are those that Glance makes."""
    content = pattern(2 * MIB)
    shown = []
    for location in (
        Location(theirs.store.add("one", content)),
        await write(ours, "two", content),
    ):
        name = location.uri.split("/")[-2]
        lines = ceph.tool("rbd", "info", f"{ceph.pool}/{name}").splitlines()[1:]
        snapshots = ceph.tool("rbd", "snap", "ls", f"{ceph.pool}/{name}").splitlines()[1:]
        identity = next(line.split()[1] for line in lines if "id:" in line)
        shown.append(
            (
                [line for line in lines if "timestamp" not in line and identity not in line],
                [line.split()[1:5] for line in snapshots],
            )
        )
        await ours.delete(location)
    assert shown[0] == shown[1]
    assert shown[0][1] == [["snap", "2", "MiB", "yes"]]


async def test_a_first_location(theirs: Theirs, ours: RbdStore) -> None:
    """`rbd://IMAGE`, as the first releases of Glance wrote it: the image itself, in our pool."""
    content = pattern(MIB + 1)
    full = await write(ours, "old", content)
    location = Location("rbd://old")
    assert await read(ours, location, Span(1, MIB)) == content[1:MIB]
    theirs.store.check(location.uri, content)
    await ours.delete(full)


async def test_qemu_reads_what_we_wrote(ours: RbdStore, ceph: Ceph, tmp_path: Path) -> None:
    """As a compute node does that clones it, or boots from it."""
    content = pattern(3 * MIB)
    location = await write(ours, "image", content)
    copy = tmp_path / "copy"
    source = f"rbd:{ceph.pool}/image@snap:conf={ceph.configuration}"
    convert = ("qemu-img", "convert", "-f", "raw", "-O", "raw", source, copy)
    await asyncio.to_thread(run_tool, *convert)
    assert await asyncio.to_thread(copy.read_bytes) == content
    await ours.delete(location)
