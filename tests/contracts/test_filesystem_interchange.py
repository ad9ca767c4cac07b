"""What Glance's own file driver wrote we read and delete, and the other way."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.file.options import filesystem_options
from backends.file.store import FilesystemStore
from backends.location import Location
from backends.options import FilesystemOptions
from backends.spans import Span
from contracts.subject import pattern, read, write
from contracts.test_filesystem import listing
from harness.glance_store import GlanceStore, glance_store

MIB = 1 << 20
SIZES = (0, 1, MIB, 3 * MIB + 1)


@dataclass(frozen=True)
class Theirs:
    """glance_store, our reading of its options, and the directory where its images go."""

    store: GlanceStore
    options: FilesystemOptions
    images: Path

    def mode(self, path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(
    scope="module",
    params=[
        {},
        {
            "filesystem_store_file_perm": "640",
            "filesystem_thin_provisioning": "True",
            "filesystem_store_chunk_size": "131072",
            "filesystem_store_timeout": "30",
        },
    ],
    ids=["defaults", "options"],
)
def theirs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Theirs]:
    directory = tmp_path_factory.mktemp("theirs")
    images = directory / "images"
    images.mkdir(mode=0o700)
    metadata = directory / "metadata.json"
    metadata.write_text(json.dumps({"id": "share", "mountpoint": str(images)}))
    options = {
        "stores": "file",
        "default_store": "file",
        "filesystem_store_datadir": f"{images}/",  # as operators write it
        "filesystem_store_metadata_file": str(metadata),
        **request.param,
    }
    with glance_store(directory, options) as store:
        yield Theirs(store, filesystem_options(options), images)
    assert listing(images) == []


async def test_what_glance_wrote(theirs: Theirs) -> None:
    async with aclosing(FilesystemStore(theirs.options)) as store:
        for size in SIZES:
            content = pattern(size)
            location = Location(theirs.store.add(f"image-{size}", content, tell_size=size != 1))
            assert (await store.stat(location)).size == size
            assert await read(store, location) == content
            for span in (Span(0, 1), Span(MIB - 1, MIB + 1), Span.since(3 * MIB - 3)):
                assert await read(store, location, span) == content[span.start : span.stop]
            await store.delete(location)


async def test_what_we_wrote(theirs: Theirs) -> None:
    async with aclosing(FilesystemStore(theirs.options)) as store:
        for size in SIZES:
            content = pattern(size)
            location = await write(store, f"image-{size}", content)
            theirs.store.check(location.uri, content)
            theirs.store.delete(location.uri)


async def test_the_same_files(theirs: Theirs) -> None:
    """The same rights, the same room, and what Nova is told of the place."""
    content = pattern(MIB) + bytes(4 * MIB) + pattern(MIB) + bytes(MIB)
    async with aclosing(FilesystemStore(theirs.options)) as store:
        first = Location(theirs.store.add("first", content))
        directory_mode = theirs.mode(theirs.images)
        theirs.images.chmod(0o700)
        async with store.create("second", len(content)) as writer:
            await writer.write(content)
            result = await writer.commit()
        assert result.location.uri.replace("second", "first") == first.uri.replace(
            "//first", "/first"
        )
        assert result.metadata == {"id": "share", "mountpoint": str(theirs.images)}
        theirs_, ours = theirs.images / "first", theirs.images / "second"
        assert theirs.mode(ours) == theirs.mode(theirs_)
        assert theirs.mode(theirs.images) == directory_mode
        assert ours.stat().st_blocks == theirs_.stat().st_blocks
        for location in (first, result.location):
            assert await read(store, location) == content
            await store.delete(location)
