"""The file driver on small real file systems: full, read-only, frozen, sparse; and for another user."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest

from backends.base import Writer
from backends.errors import DeniedError, NoSpaceError, UnavailableError
from backends.file.newfile import THIN_BYTES, _not_zero
from backends.file.store import FilesystemStore
from backends.options import DataDirectory, FilesystemOptions
from backends.spans import Span
from contracts.subject import pattern, read, write
from contracts.test_filesystem import listing, opened
from harness.damage import make_cold
from harness.slowdisk import on_its_way
from harness.smalldisk import Kind, SmallDisk, small_disk

MIB = 1 << 20


@pytest.fixture(params=["tmpfs", "ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    kind: Kind = request.param
    with small_disk(tmp_path, kind) as disk:
        yield disk


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, "ext4") as disk:
        yield disk


async def write_all(writer: Writer, content: bytes) -> None:
    """Write it, whether that fails at once or, where the file system puts it off, at the commit."""
    for start in range(0, len(content), MIB):
        await writer.write(content[start : start + MIB])
    await writer.commit()


async def test_a_full_disk(disk: SmallDisk) -> None:
    images = disk.path / "images"
    images.mkdir()
    async with opened(images) as store:
        kept = await write(store, "kept", pattern(MIB))
        disk.fill(leave=8 * MIB)
        async with store.create("large") as writer:
            with pytest.raises(NoSpaceError):
                await write_all(writer, pattern(32 * MIB))
        assert listing(images) == ["kept"]
        assert await read(store, kept) == pattern(MIB)
        await store.delete(kept)
        disk.free()
        location = await write(store, "large", pattern(16 * MIB))
        assert await read(store, location) == pattern(16 * MIB)


async def test_another_directory_takes_what_a_full_one_cannot(
    disk: SmallDisk, tmp_path: Path
) -> None:
    disk.fill(leave=8 * MIB)
    places = (DataDirectory(disk.path / "images", 9), DataDirectory(tmp_path / "large", 1))
    async with aclosing(FilesystemStore(FilesystemOptions(places))) as store:
        location = await write(store, "image", pattern(16 * MIB))
        assert location.uri == f"file://{tmp_path}/large/image"


async def test_a_disk_that_turns_read_only(ext4: SmallDisk) -> None:
    images = ext4.path / "images"
    async with opened(images) as store:
        location = await write(store, "image", pattern(MIB))
        await asyncio.to_thread(ext4.turn_read_only)
        with pytest.raises(DeniedError):
            await write(store, "other", b"x")
        with pytest.raises(DeniedError):
            await store.delete(location)
        assert await read(store, location) == pattern(MIB)
        assert listing(images) == ["image"]


async def test_a_frozen_disk(ext4: SmallDisk, tmp_path: Path) -> None:
    """Whoever writes waits in the kernel; readers, and other directories, do not."""
    places = (DataDirectory(ext4.path / "images", 9), DataDirectory(tmp_path / "sound", 1))
    options = FilesystemOptions(places, threads=2, hang_seconds=0.5)
    async with aclosing(FilesystemStore(options)) as store:
        location = await write(store, "image", pattern(MIB))
        assert location.uri == f"file://{ext4.path}/images/image"
        await asyncio.to_thread(ext4.freeze)
        try:
            elsewhere = await write(store, "other", b"x")
            assert elsewhere.uri == f"file://{tmp_path}/sound/other"
            assert await read(store, elsewhere) == b"x"
            assert await read(store, location, Span(5, 10)) == pattern(MIB)[5:10]
        finally:
            await asyncio.to_thread(ext4.thaw)
        assert await read(store, location) == pattern(MIB)
    assert listing(ext4.path / "images") == ["image"]


async def test_a_disk_that_does_not_get_on(ext4: SmallDisk) -> None:
    """Pages that are on their way count as cached; who sent them would wait for them on the loop."""
    images = ext4.path / "images"
    async with opened(images, threads=2, hang_seconds=0.3) as store:
        location = await write(store, "image", pattern(4 * MIB))
        other = await write(store, "other", pattern(MIB, seed=1))
        make_cold(images / "image")
        slow = on_its_way(ext4, images / "image", 2 * MIB)
        await asyncio.to_thread(slow.__enter__)
        try:
            async with store.read(location) as stream:
                assert not len(stream.file()[1])
                with pytest.raises(UnavailableError, match="has not answered"):
                    await anext(stream)
            async with store.read(other) as stream:
                assert len(stream.file()[1]) == MIB
            assert await read(store, other) == pattern(MIB, seed=1)
        finally:
            await asyncio.to_thread(slow.__exit__, None, None, None)
        assert await read(store, location) == pattern(4 * MIB)


async def test_a_disk_that_fails(ext4: SmallDisk) -> None:
    async with opened(ext4.path / "images") as store:
        location = await write(store, "image", pattern(MIB))
        await asyncio.to_thread(ext4.shut_down)
        with pytest.raises(UnavailableError):
            await write(store, "other", pattern(MIB))
        with pytest.raises(UnavailableError):
            await store.delete(location)


# --- holes ----------------------------------------------------------------------------------------


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


async def test_zeros_take_no_room(disk: SmallDisk) -> None:
    data = pattern(MIB)
    content = bytes(8 * MIB) + data + bytes(4 * MIB + 5) + data + bytes(3 * MIB + 1)
    images = disk.path / "images"
    async with opened(images, thin=True) as thin, opened(images) as thick:
        for step in (len(content), MIB, 100_003):
            async with thin.create("thin", len(content)) as writer:
                for start in range(0, len(content), step):
                    await writer.write(content[start : start + step])
                location = (await writer.commit()).location
            assert await read(thin, location) == content
            # XFS allots more than is written, for a while.
            most = (5 if disk.kind == "xfs" else 2) * MIB + 4 * THIN_BYTES
            assert 2 * MIB <= allocated(images / "thin") <= most
            await thin.delete(location)
        location = await write(thin, "thin", bytes(16 * MIB))
        assert await read(thick, location) == bytes(16 * MIB)
        assert allocated(images / "thin") <= 4096
        await write(thick, "thick", bytes(16 * MIB))
        assert allocated(images / "thick") >= 16 * MIB


async def test_more_zeros_than_the_disk_has_room(ext4: SmallDisk) -> None:
    async with opened(ext4.path / "images", thin=True) as store:
        async with store.create("image") as writer:
            for _ in range(512):
                await writer.write(bytes(MIB))
            location = (await writer.commit()).location
        assert (await store.stat(location)).size == 512 * MIB


def test_what_is_not_zero() -> None:
    generator = random.Random(5)
    for _ in range(300):
        position = generator.randrange(3 * THIN_BYTES)
        data = bytearray(generator.randrange(1, 6 * THIN_BYTES))
        for _ in range(generator.randrange(4)):
            data[generator.randrange(len(data))] = 1
        parts = list(_not_zero(memoryview(data), position))
        written = bytearray(len(data))
        for start, stop in parts:
            assert start < stop
            written[start:stop] = data[start:stop]
        assert written == data
        assert all(left[1] < right[0] for left, right in pairwise(parts))
        blocks = {(position + at) // THIN_BYTES for at, byte in enumerate(data) if byte}
        assert sum(stop - start for start, stop in parts) <= len(blocks) * THIN_BYTES


# --- rights ---------------------------------------------------------------------------------------


PROGRAM = """
import asyncio, sys
from pathlib import Path
from backends.errors import StoreError
from backends.file.store import FilesystemStore
from backends.location import Location
from backends.options import DataDirectory, FilesystemOptions
from contracts.subject import read, write

async def attempt(what, work):
    try:
        await work
    except StoreError as error:
        print(what, type(error).__name__)
    else:
        print(what, "done")

async def main(images):
    store = FilesystemStore(FilesystemOptions((DataDirectory(images),)))
    await attempt("read", read(store, Location(f"file://{images}/open")))
    await attempt("read", read(store, Location(f"file://{images}/closed")))
    await attempt("write", write(store, "other", b"z"))
    await attempt("delete", store.delete(Location(f"file://{images}/open")))
    below = FilesystemStore(FilesystemOptions((DataDirectory(images / "below"),)))
    await attempt("write", write(below, "image", b"z"))

asyncio.run(main(Path(sys.argv[1])))
"""
# Root without what lets it do everything.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


def test_without_the_rights(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name, mode in (("open", 0o400), ("closed", 0o000)):
        (images / name).write_bytes(b"x")
        (images / name).chmod(mode)
    images.chmod(0o500)
    ours = () if os.geteuid() else WITHOUT_RIGHTS
    done = subprocess.run(
        [*ours, sys.executable, "-c", PROGRAM, images],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    images.chmod(0o700)
    assert done.stdout.splitlines() == [
        "read done",
        "read DeniedError",
        "write DeniedError",
        "delete DeniedError",
        "write DeniedError",
    ], done.stderr
    assert listing(images) == ["closed", "open"]
