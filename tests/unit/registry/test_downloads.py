"""Downloads below HTTP: where one location fails, another one goes on at the byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from backends.base import ReadStore
from backends.errors import DeniedError, InvalidError, MissingError, UnavailableError
from backends.faulty import BEGIN, Alter, End, Fail, Fault, Faulty, Insert
from backends.file.store import FilesystemStore
from backends.manifest import CHUNK_BYTES, ManifestShape
from backends.memory import MemoryStore
from backends.options import DataDirectory, FilesystemOptions, MemoryOptions
from backends.spans import END, Span
from backends.verifying import Verified
from backends.wrapping import wrap
from contracts.subject import pattern, read, write
from registry.domain.errors import InvalidRequestError, NoDataError
from registry.domain.errors import UnavailableError as Refusal
from registry.domain.image import ImageLocation
from registry.service.digests import chunk_digest
from registry.service.downloads import Data, Download, Downloads
from registry.service.stores import Stores

PIECE = 16
CONTENT = pattern(4 * PIECE)
WHOLE = Span(0, len(CONTENT))
DOWN = UnavailableError("down")


class Copies:
    """Copies of one image in stores of their own, of which each misbehaves in its own way."""

    def __init__(self) -> None:
        self.stores: dict[str, ReadStore] = {}
        self.faulty: list[Faulty] = []

    async def add(self, *faults: Fault, content: bytes = CONTENT) -> None:
        memory = MemoryStore(MemoryOptions(piece_bytes=PIECE))
        location = await write(memory, f"image-{len(self.stores)}", content)
        self.faulty.append(Faulty(read=[faults]))
        self.stores[location.uri] = wrap(memory, self.faulty[-1])

    def holding(self, place: ImageLocation) -> ReadStore:
        if place.url not in self.stores:
            raise Refusal("no such store")
        return self.stores[place.url]

    @property
    def data(self) -> Data:
        places = tuple(ImageLocation(uri, {}) for uri in self.stores)
        return Data("image", len(CONTENT), None, places)

    async def download(self, span: Span = WHOLE) -> bytes:
        downloads = Downloads(cast("Any", None), cast("Stores", self))
        async with downloads.open(self.data, span) as download:
            assert download.left == len(span)
            found = b"".join([piece async for piece in download])
            assert not download.left
        return found

    @property
    def reads(self) -> list[int]:
        return [each.begun["read"] for each in self.faulty]


@pytest.fixture
def copies() -> Iterator[Copies]:
    copies = Copies()
    yield copies
    for faulty in copies.faulty:
        assert faulty.begun == faulty.ended


@pytest.mark.parametrize("span", [WHOLE, Span(3, 40), Span(0, 0), Span(63, 64)])
async def test_the_first_place_that_opens(copies: Copies, span: Span) -> None:
    await copies.add(Fail(DOWN, BEGIN))
    await copies.add()
    await copies.add()
    assert await copies.download(span) == CONTENT[span.start : span.stop]
    assert copies.reads == [1, 1, 0]


@pytest.mark.parametrize(
    "fault",
    [
        Fail(DOWN, 20),
        Fail(DOWN, PIECE),
        Fail(DeniedError("no"), 20),
        Fail(InvalidError("wrong"), 20),
        Fail(MissingError("gone"), 20),
        End(20),
        Insert(b"x" * 100, 33),
    ],
    ids=repr,
)
async def test_the_next_place_goes_on_at_the_byte(copies: Copies, fault: Fault) -> None:
    await copies.add(fault)
    await copies.add(Fail(DOWN, BEGIN))
    await copies.add(Fail(DOWN, 40))
    await copies.add()
    assert await copies.download() == CONTENT
    assert copies.reads == [1, 1, 1, 1]


async def test_a_place_that_holds_something_else(copies: Copies) -> None:
    await copies.add(content=CONTENT + b"x")
    await copies.add()
    assert await copies.download() == CONTENT


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fail(DOWN, BEGIN), Refusal),
        (Fail(MissingError("gone"), BEGIN), NoDataError),
        (Fail(DOWN, 20), Refusal),
        (End(20), Refusal),
        (Fail(InvalidError("wrong"), 20), InvalidRequestError),
    ],
    ids=str,
)
async def test_the_last_ones_failure_is_raised(
    copies: Copies, fault: Fault, error: type[Exception]
) -> None:
    await copies.add(Fail(DOWN, 5))
    await copies.add(fault)
    with pytest.raises(error):
        await copies.download()


async def test_no_place_at_all(copies: Copies) -> None:
    with pytest.raises(NoDataError):
        await copies.download()


async def test_an_error_behind_the_last_byte_is_nobodys(copies: Copies) -> None:
    await copies.add(Fail(DOWN, END))
    assert await copies.download() == CONTENT


async def test_a_wrong_chunk_is_read_from_the_next_place(copies: Copies) -> None:
    chunk = CHUNK_BYTES[0]
    content = pattern(4 * chunk + 5)

    async def page(_number: int) -> bytes:
        pieces = (content[start : start + chunk] for start in range(0, len(content), chunk))
        return b"".join(map(chunk_digest, pieces))

    await copies.add(Alter(chunk + 1), content=content)
    await copies.add(Alter(3 * chunk), content=content)
    await copies.add(content=content)
    data = replace(copies.data, size=len(content))
    for span in (Span(0, len(content)), Span(5, 4 * chunk + 1)):
        verified = Verified(ManifestShape(len(content), chunk), page, chunk_digest)
        download = Download(cast("Stores", copies), data, span, verified)
        await download.begin()
        assert download.file() is None
        assert b"".join([piece async for piece in download]) == content[span.start : span.stop]
        await download.aclose()
        assert download.left == 0
    assert copies.reads == [2, 1, 1]


async def test_a_file_fails_and_a_store_goes_on(copies: Copies, tmp_path: Path) -> None:
    options = FilesystemOptions((DataDirectory(tmp_path),), piece_bytes=PIECE)
    async with aclosing(FilesystemStore(options)) as files:
        location = await write(files, "image", CONTENT)
        copies.stores[location.uri] = files
        await copies.add()
        download = Download(cast("Stores", copies), copies.data, Span(1, 60))
        await download.begin()
        file = download.file()
        assert file is not None
        assert file[1] == Span(1, 60)
        download.sent(9)
        (tmp_path / "image").write_bytes(b"")
        file = download.file()
        assert file is not None
        assert not len(file[1])
        assert b"".join([piece async for piece in download]) == CONTENT[10:60]
        assert download.file() is None
        await download.aclose()
        assert await read(files, location) == b""
