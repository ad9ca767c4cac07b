"""What is done to images on their way through an import: properties injected, data unpacked."""

from __future__ import annotations

import asyncio
import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.images import MIB
from harness.plugins_case import DATA, IMAGE, MEMBER, beside, plugins, prepare, put
from harness.waiting import until
from registry.domain.errors import InvalidRequestError, LimitExceededError
from registry.plugins import decompression
from registry.plugins.plugins import leftovers


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    directory = tmp_path / "staging"
    directory.mkdir()
    return directory / "an-image"


async def test_nothing_is_configured(staged: Path) -> None:
    for chosen in (plugins(), plugins("no_op")):
        assert not chosen.touches_data
        assert await prepare(chosen, staged, IMAGE) == (b"", {}, {})


async def test_properties_are_injected(staged: Path) -> None:
    chosen = plugins(
        "inject_image_metadata",
        inject={"a": "1", "os_glance_x": "2", "b": "3"},
        ignore_user_roles=frozenset({"admin", "reader"}),
    )
    assert not chosen.touches_data
    assert await prepare(chosen, staged, IMAGE) == (b"", {}, {"a": "1", "b": "3"})
    assert await prepare(chosen, staged, IMAGE, frozenset({"member", "reader"})) == (b"", {}, {})


def zipped(*names: str, data: bytes = DATA, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in names:
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(DATA),
        gzip.compress(DATA[:MIB]) + gzip.compress(DATA[MIB:]),
        zipped("disk.raw"),
        zipped("../../disk.raw", method=zipfile.ZIP_STORED),
        zipped("/etc/disk"),
    ],
    ids=["gzip", "gzip-twice", "zip", "zip-outside", "zip-absolute"],
)
async def test_what_is_packed_is_unpacked(staged: Path, packed: bytes) -> None:
    chosen = plugins("image_decompression")
    assert chosen.touches_data
    put(staged, packed)
    assert await prepare(chosen, staged, IMAGE) == (DATA, {"size": len(DATA)}, {})
    compressed = replace(IMAGE, container_format="compressed")
    assert await prepare(chosen, staged, compressed) == (packed, {}, {})


@pytest.mark.parametrize("data", [b"", b"P", DATA, b"PK\x05\x06" + bytes(18), b"\x1f\x8b\x09"])
async def test_what_is_not_packed_is_left_alone(staged: Path, data: bytes) -> None:
    put(staged, data)
    assert await prepare(plugins("image_decompression"), staged, IMAGE) == (data, {}, {})


@pytest.mark.parametrize(
    ("packed", "told"),
    [
        (zipped("a", "b"), "Archive contains more than one file."),
        (zipped("a/", data=b""), "Archive contains no file."),
        (zipped("a")[:5000], "cannot be decompressed: File is not a zip file"),
        (
            zipped("a").replace(
                b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
            ),
            "cannot be decompressed: .*encrypted",
        ),
        (zipped("a", data=b"x", method=zipfile.ZIP_BZIP2), "another method than deflate"),
        (zipped("a", data=b"x", method=zipfile.ZIP_LZMA), "another method than deflate"),
        (zipped("\u00e4").replace(b"\xc3\xa4", b"\xff\xff"), "cannot be decompressed: .*utf-8"),
        (
            zipped("a")[:-22] + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 1 << 31, 0, 0),
            "cannot be decompressed: Bad offset",
        ),
        (gzip.compress(DATA)[:-100], "cannot be decompressed: Compressed file ended"),
        (gzip.compress(DATA) + b"more", "cannot be decompressed: Not a gzipped file"),
        (gzip.compress(DATA)[:-8] + bytes(8), "cannot be decompressed: CRC check failed"),
        (gzip.compress(DATA)[:99] + bytes(99), "cannot be decompressed"),
        (b"\0\0-lh5-" + bytes(100), "No lhafile available."),
    ],
)
async def test_what_cannot_be_unpacked(staged: Path, packed: bytes, told: str) -> None:
    put(staged, packed)
    with pytest.raises(InvalidRequestError, match=told):
        await prepare(plugins("image_decompression"), staged, IMAGE)


async def test_a_large_directory_is_not_even_read(
    staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(staged, zipped(*map(str, range(25_000)), data=b""))  # with 50 bytes each
    monkeypatch.delattr(zipfile, "ZipInfo")  # what each entry would be read into
    with pytest.raises(InvalidRequestError, match="more than one file"):
        await prepare(plugins("image_decompression"), staged, IMAGE)


async def test_what_is_damaged_is_refused_or_unpacked(staged: Path) -> None:
    chance = random.Random(1)
    whole = zipped("\u00e4", data=bytes(99))
    for _ in range(1000):
        packed = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            packed[chance.randrange(4, len(packed))] = chance.choice((0, 1, 9, 255))
        put(staged, bytes(packed))
        try:
            await prepare(plugins("image_decompression"), staged, IMAGE)
        except (InvalidRequestError, LimitExceededError):
            assert beside(staged) == [staged.name]


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped("a", data=data)])
async def test_a_bomb(staged: Path, pack: Callable[[bytes], bytes]) -> None:
    put(staged, pack(bytes(50 * MIB)))
    with pytest.raises(LimitExceededError, match="too large: more than 1048576 bytes"):
        await prepare(plugins("image_decompression", cap=MIB), staged, IMAGE)


async def test_cancelled_while_unpacking(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "_PIECE_BYTES", 1)
    put(staged, gzip.compress(bytes(50 * MIB)))

    async def unpack() -> None:
        async with plugins("image_decompression").prepared(staged, IMAGE, MEMBER):
            pytest.fail("it takes too long")

    task = asyncio.create_task(unpack())
    await asyncio.to_thread(until, "the first bytes", leftovers(staged)[0].exists)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert beside(staged) == [staged.name]
