"""Ranges that are answered at once: the same as by the handlers, and never what is not so any more."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backends.keptfile import KeptFile
from backends.options import DataDirectory, FilesystemOptions
from backends.spans import Span
from harness.damage import make_cold
from harness.smalldisk import SmallDisk, small_disk
from registry.app import listening
from registry.service.downloads import Data, Downloads
from registry.upkeep import sync_database

MIB = 1 << 20
TRIES = 50  # the catalog's own jobs commit now and then
CONTENT = random.Random(1).randbytes(12 * MIB + 5)  # more than the buffers between two sockets hold


@pytest.fixture(scope="session")
def server() -> None:
    """Nothing but SQLite tells that nothing was committed."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, "ext4") as disk:
        yield disk


@pytest.fixture
def stores(stores: Any, disk: SmallDisk) -> Any:
    options = FilesystemOptions((DataDirectory(disk.path / "images"),))
    file, *others = stores.stores
    return replace(stores, stores=(replace(file, options=options), *others))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what the handlers were asked for, which is what was not answered at once."""
    found: list[str] = []
    find = Downloads.find

    async def noting(self: Downloads, identity: Any, image_id: str, *more: Any) -> Data:
        found.append(image_id)
        return await find(self, identity, image_id, *more)

    monkeypatch.setattr(Downloads, "find", noting)
    return found


async def in_pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(CONTENT), MIB):
        yield CONTENT[start : start + MIB]


@pytest.fixture
async def image_id(client: Any, catalog: Any) -> str:
    """Add an image, whose pages are in memory and whose file is open by a first range.

    Over a connection of its own: one that had a body is all aiohttp's from then on.
    """
    image_id: str
    async with aiohttp.ClientSession(catalog.url) as session:
        uploader = type(client)(session)
        image_id = await uploader.create()
        assert (await uploader.upload(image_id, in_pieces())).status == 204
    assert (await client.download(image_id, Range="bytes=0-0")).status == 206
    return image_id


async def at_once(client: Any, image_id: str, found: list[str], **headers: str) -> Any:
    """Return an answer that the handlers had no part in: one that no commit has come before."""
    for _ in range(TRIES):
        found.clear()
        answer = await client.download(image_id, **headers)
        if not found:
            return answer
    raise AssertionError("nothing is answered at once")


def part(first: int, last: int) -> str:
    return f"bytes={first}-{last}"


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=7-65542", (7, 65543)),
        ("bytes=7-65543", (7, 65544)),
        (f"bytes=4095-{2 * MIB}", (4095, 2 * MIB + 1)),
        ("bytes=5-", (5, len(CONTENT))),
        (f"bytes={len(CONTENT) - 1}-{1 << 50}", (len(CONTENT) - 1, len(CONTENT))),
        (None, (0, len(CONTENT))),
    ],
)
async def test_the_same_answer(
    client: Any, image_id: str, found: list[str], asked: str | None, span: tuple[int, int]
) -> None:
    headers = {"Range": asked} if asked else {}
    answer = await at_once(client, image_id, found, **headers)
    handled = await client.download(image_id, **headers, If_Match="*")  # not for the fast lane
    assert found == [image_id]
    assert answer.body == handled.body == CONTENT[slice(*span)]
    assert answer.status == handled.status
    told, ours = (dict(each.headers) for each in (handled, answer))
    for each in (told, ours):
        assert re.fullmatch(r"req-[0-9a-f-]{36}", each.pop("X-OpenStack-Request-ID"))
        assert each.pop("Date").endswith(" GMT")
    assert ours == told


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": f"bytes={len(CONTENT)}-"},
        {"Range": "bytes=5-3"},
        {"Range": "bytes=-3"},
        {"Range": "bytes=0-0,2-2"},
        {"Range": "bytes=0-0", "If-Range": '"other"'},
        {"If-None-Match": "*"},
        {"Content-Range": "bytes 0-0/*"},
        {"Range": "bytes=0-0", "X-OpenStack-Request-ID": "x" * 65},
        {"Range": "bytes=0-0", "Origin": "http://horizon.example"},
    ],
)
async def test_the_rest_is_for_the_handlers(
    client: Any, image_id: str, found: list[str], headers: dict[str, str]
) -> None:
    answer = await client.download(image_id, **headers)
    assert found == ([image_id] if "x" * 65 not in headers.values() else [])
    assert answer.status in {200, 206, 304, 400, 416, 431}


async def test_another_process_changes_the_record(
    client: Any, image_id: str, found: list[str], settings: Any
) -> None:
    file = settings.database.connection.removeprefix("sqlite:///")

    def change(statement: str) -> None:
        with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
            connection.execute(statement)

    await asyncio.to_thread(change, "UPDATE images SET name = 'other'")
    assert (await client.download(image_id, Range=part(1, 9))).body == CONTENT[1:10]
    assert found  # the record was read again
    assert (await at_once(client, image_id, found, Range=part(1, 9))).body == CONTENT[1:10]
    await asyncio.to_thread(change, "UPDATE images SET deleted = 1")
    assert (await client.download(image_id, Range=part(1, 9))).status == 404


async def test_a_deleted_image(client: Any, image_id: str, found: list[str]) -> None:
    assert (await client.call("DELETE", f"/{image_id}")).status == 204
    assert (await client.download(image_id, Range=part(1, 9))).status == 404
    assert found == [image_id]


async def test_a_file_that_is_gone(
    client: Any, image_id: str, disk: SmallDisk, found: list[str]
) -> None:
    path = disk.path / "images" / image_id
    await asyncio.to_thread(path.unlink)
    assert (await client.download(image_id, Range=part(1, 9))).status == 204  # as in Glance
    assert found == [image_id]


async def test_a_file_that_was_replaced(
    client: Any, image_id: str, disk: SmallDisk, found: list[str]
) -> None:
    def replace_file() -> None:
        path = disk.path / "images" / image_id
        other = path.with_name("other")
        other.write_bytes(CONTENT[::-1])
        other.rename(path)

    await asyncio.to_thread(replace_file)
    answer = await client.download(image_id, Range=part(1, 9))
    assert (answer.body, found) == (CONTENT[::-1][1:10], [image_id])
    answer = await at_once(client, image_id, found, Range=part(1, 9))
    assert answer.body == CONTENT[::-1][1:10]


@pytest.mark.parametrize("size", [100, 2 * MIB])
async def test_what_is_not_in_memory(
    client: Any, image_id: str, disk: SmallDisk, found: list[str], size: int
) -> None:
    for _ in range(TRIES):  # a quick disk may have it there before the kernel gives up
        found.clear()
        await asyncio.to_thread(make_cold, disk.path / "images" / image_id)
        assert (await client.download(image_id, Range=part(0, size - 1))).body == CONTENT[:size]
        if found:
            return
    raise AssertionError("all is taken to be in memory")


async def test_what_leaves_memory_meanwhile(
    client: Any, image_id: str, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(TRIES):
        found.clear()
        async with client.session.get(f"/v2/images/{image_id}/file") as answer:
            # The buffers are full, and the file goes on behind them.
            with monkeypatch.context() as patched:
                patched.setattr(KeptFile, "near", lambda _file, span: Span(span.start, span.start))
                assert await answer.read() == CONTENT
        if not found:
            return
    raise AssertionError("nothing is answered at once")


class Wire:
    """A connection on which any bytes can be sent."""

    def __init__(self, raw: Any, image_id: str) -> None:
        self.reader, self.writer = raw
        self._image = image_id

    def get(self, *fields: str) -> bytes:
        lines = (f"GET /v2/images/{self._image}/file HTTP/1.1", "Host: h", *fields)
        return "\r\n".join((*lines, "", "")).encode()

    def ask(self, first: int, last: int) -> None:
        self.writer.write(self.get(f"Range: bytes={first}-{last}"))

    async def answer(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length, head
        body: bytes = await self.reader.readexactly(int(length[1]))
        return body


@pytest.fixture
def wire(raw: Any, image_id: str) -> Wire:
    return Wire(raw, image_id)


async def test_one_after_the_other(wire: Wire) -> None:
    for size in (1, 65536, 65537, 3 * MIB):
        for first in (0, 4097):
            wire.ask(first, first + size - 1)
            assert await wire.answer() == CONTENT[first : first + size]


async def test_requests_that_come_early(wire: Wire) -> None:
    """They wait for the end of the answer, are read by aiohttp, and are answered in order."""
    wire.ask(0, 8 * MIB - 1)
    await wire.reader.readuntil(b"\r\n\r\n")  # the answer has begun, and is more than fits
    for first in range(6):
        wire.ask(first, first + 9)
        await asyncio.sleep(0)
    assert await wire.reader.readexactly(8 * MIB) == CONTENT[: 8 * MIB]
    for first in range(6):
        assert await wire.answer() == CONTENT[first : first + 10]
    wire.ask(0, 3)
    assert await wire.answer() == CONTENT[:4]


async def test_two_in_one_piece(wire: Wire, found: list[str]) -> None:
    wire.writer.write(wire.get("Range: bytes=0-9") + wire.get("Range: bytes=5-6"))
    assert [await wire.answer(), await wire.answer()] == [CONTENT[:10], CONTENT[5:7]]
    assert len(found) == 2


async def test_a_request_in_pieces(wire: Wire) -> None:
    whole = wire.get("Range: bytes=0-9")
    for piece in (whole[:30], whole[30:]):
        wire.writer.write(piece)
        await asyncio.sleep(0)
    assert await wire.answer() == CONTENT[:10]
    wire.ask(0, 3)
    assert await wire.answer() == CONTENT[:4]


async def test_a_client_that_leaves(
    wire: Wire, client: Any, image_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        wire.ask(0, len(CONTENT) - 1)
        await wire.reader.readuntil(b"\r\n\r\n")
        wire.writer.transport.abort()
        while "the client went away" not in caplog.text:
            await client.show(image_id)
    assert (await client.download(image_id, Range=part(1, 9))).body == CONTENT[1:10]


async def test_the_log_tells_the_same(
    catalog: Any, client: Any, image_id: str, found: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiohttp.access")  # asked by aiohttp once for each connection
    headers = {"Range": part(3, 5), "User-Agent": "tester", "X-OpenStack-Request-ID": "mine"}
    async with aiohttp.ClientSession(catalog.url) as session:
        logged = type(client)(session)
        answer = await at_once(logged, image_id, found, **headers)
        assert answer.headers["X-OpenStack-Request-ID"] == "req-mine"
        assert (await logged.download(image_id, **headers, If_Match="*")).status == 206
        await logged.show(image_id)  # by now it is written
    ours, handled = [line for line in caplog.messages if "tester" in line][-2:]
    assert re.sub(r"\d\.\d{6}", "T", ours) == re.sub(r"\d\.\d{6}", "T", handled)
    line = rf'127\.0\.0\.1 "GET /v2/images/{image_id}/file HTTP/1\.1" 206 \d+ \d\.\d+ "tester"'
    assert re.fullmatch(line, ours)


async def test_an_answer_is_ended_before_the_service_is(
    settings: Any, stores: Any, disk: SmallDisk
) -> None:
    del disk
    await sync_database(settings)
    stopped = asyncio.Event()

    async def serve(told: asyncio.Future[tuple[str, int]]) -> None:
        async with listening(settings, stores) as address:
            told.set_result(address)
            await stopped.wait()

    told: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(told))
    host, port = await told
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        described = {"disk_format": "raw", "container_format": "bare"}
        async with session.post("/v2/images", json=described) as answer:
            url = (await answer.json())["file"]
        octets = {"Content-Type": "application/octet-stream"}
        await session.put(url, data=in_pieces(), headers=octets)
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        await (await session.get(url, headers={"Range": "bytes=0-0"})).read()
        async with session.get(url) as answer:
            await answer.content.readexactly(1)
            stopped.set()
            await asyncio.sleep(0)
            assert await answer.content.read() == CONTENT[1:]
    await serving
