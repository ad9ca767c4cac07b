"""Uploading and downloading over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from registry.app import listening
from registry.upkeep import sync_database

DATA = bytes(range(256)) * 3000  # longer than a socket's piece
MD5 = hashlib.md5(DATA).hexdigest()

QUESTIONS_MAX = 2000
FORMATS = {"disk_format": "raw", "container_format": "bare"}
LARGE = 64 << 20  # more than the buffers between two sockets hold


async def in_pieces(data: bytes, length: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), length):
        yield data[start : start + length]


@pytest.mark.parametrize("times", [1, 9])
async def test_an_upload_with_a_length(client: Any, catalog: Any, times: int) -> None:
    data = DATA * times
    image_id = await client.create()
    answer = await client.upload(image_id, io.BytesIO(data))
    assert (answer.status, answer.body) == (204, b"")
    image = await client.show(image_id)
    md5 = hashlib.md5(data).hexdigest()
    assert (image["status"], image["size"], image["checksum"]) == ("active", len(data), md5)
    assert image["os_hash_algo"] == "sha512"
    assert image["os_hash_value"] == hashlib.sha512(data).hexdigest()
    assert catalog.files() == {image_id: data}


async def test_a_long_body_that_is_refused_midway(client: Any, catalog: Any) -> None:
    image_id = await client.create(disk_format="qcow2")
    answer = await client.upload(image_id, io.BytesIO(bytes(LARGE)))
    assert (answer.status, answer.headers["Connection"]) == (415, "close")
    assert (await client.show(image_id))["status"] == "queued"
    assert catalog.files() == {}


async def test_a_chunked_upload(client: Any, catalog: Any) -> None:
    image_id = await client.create()
    headers = {"x-openstack-image-size": str(len(DATA)), "X-Image-Meta-Store": "file"}
    assert (await client.upload(image_id, in_pieces(DATA), **headers)).status == 204
    assert catalog.files() == {image_id: DATA}


@pytest.mark.parametrize("data", [b"", b"x"])
async def test_tiny_images(client: Any, data: bytes) -> None:
    image_id = await client.add(data)
    answer = await client.download(image_id)
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["Content-Length"] == str(len(data))
    assert answer.headers["Content-MD5"] == hashlib.md5(data).hexdigest()
    assert (await client.download(image_id, Range="bytes=1-")).status == 416
    assert (await client.download(image_id, Range="bytes=-1")).status == (206 if data else 416)


async def test_a_coded_body_is_stored_as_it_comes(client: Any, catalog: Any) -> None:
    image_id = await client.create()
    answer = await client.upload(image_id, b"no gzip at all", **{"Content-Encoding": "gzip"})
    assert answer.status == 204
    assert catalog.files() == {image_id: b"no gzip at all"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": ""}, 415),
        ({"x-openstack-image-size": "5"}, 400),
        ({"x-openstack-image-size": "-1"}, 400),
        ({"x-openstack-image-size": "many"}, 400),
        ({"x-openstack-image-size": str(1 << 41)}, 413),
    ],
)
async def test_refused_uploads(
    client: Any, catalog: Any, headers: dict[str, str], status: int
) -> None:
    image_id = await client.create()
    assert (await client.upload(image_id, DATA, **headers)).status == status
    image = await client.show(image_id)
    assert (image["status"], image["size"]) == ("queued", None)
    assert catalog.files() == {}
    assert (await client.upload(image_id, DATA)).status == 204


async def test_data_comes_once(client: Any, catalog: Any) -> None:
    image_id = await client.add(b"first")
    answer = await client.upload(image_id, in_pieces(DATA))
    assert (answer.status, catalog.files()) == (409, {image_id: b"first"})
    assert (await client.upload("00000000-0000-0000-0000-000000000000", b"x")).status == 404


async def test_formats_come_first(client: Any) -> None:
    image_id = await client.create(disk_format=None)
    assert (await client.upload(image_id, b"x")).status == 400


async def upload_head(raw: Any, image_id: str, *headers: str) -> None:
    _, writer = raw
    lines = [
        f"PUT /v2/images/{image_id}/file HTTP/1.1",
        "Host: x",
        "Content-Type: application/octet-stream",
        *headers,
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()


async def until_status(client: Any, image_id: str, status: str) -> None:
    """Ask until an image has a status; each question gives way to the catalog, as a wait would."""
    for _ in range(QUESTIONS_MAX):
        if (await client.show(image_id))["status"] == status:
            return
    pytest.fail(f"never became {status}")


@pytest.mark.parametrize("length", [1_000_000, 10_000_000])
async def test_a_client_that_vanishes(client: Any, catalog: Any, raw: Any, length: int) -> None:
    image_id = await client.create()
    await upload_head(raw, image_id, f"Content-Length: {length}")
    raw[1].write(DATA[:500_000])
    await raw[1].drain()
    await until_status(client, image_id, "saving")
    raw[1].transport.abort()
    await until_status(client, image_id, "queued")
    assert catalog.files() == {}
    assert (await client.upload(image_id, DATA)).status == 204


async def test_broken_framing(client: Any, catalog: Any, raw: Any) -> None:
    image_id = await client.create()
    await upload_head(raw, image_id, "Transfer-Encoding: chunked")
    raw[1].write(b"5\r\nhello\r\nrubbish\r\n")
    assert b" 400 " in await raw[0].readline()
    assert (await client.show(image_id))["status"] == "queued"
    assert catalog.files() == {}


async def test_a_client_that_asks_first(client: Any, catalog: Any, raw: Any) -> None:
    image_id = await client.create()
    await upload_head(raw, image_id, "Content-Length: 4", "Expect: 100-continue")
    assert await raw[0].readline() == b"HTTP/1.1 100 Continue\r\n"
    assert await raw[0].readline() == b"\r\n"
    raw[1].write(b"data")
    assert b" 204 " in await raw[0].readline()
    assert catalog.files() == {image_id: b"data"}


async def test_a_client_that_asks_first_with_a_long_body(
    client: Any, catalog: Any, raw: Any
) -> None:
    data = DATA * 3
    image_id = await client.create()
    await upload_head(raw, image_id, f"Content-Length: {len(data)}", "Expect: 100-continue")
    assert await raw[0].readline() == b"HTTP/1.1 100 Continue\r\n"
    assert await raw[0].readline() == b"\r\n"
    raw[1].write(data)
    answer = await raw[0].read()  # until the end of the connection
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"connection: close" in answer.lower()
    assert catalog.files() == {image_id: data}


async def test_a_client_that_asks_first_is_refused_without_its_data(client: Any, raw: Any) -> None:
    image_id = await client.add(b"data")
    await upload_head(raw, image_id, "Content-Length: 4", "Expect: 100-continue")
    assert b" 409 " in await raw[0].readline()


async def test_another_expectation(client: Any, raw: Any) -> None:
    await upload_head(raw, await client.create(), "Content-Length: 4", "Expect: miracles")
    assert b" 417 " in await raw[0].readline()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_whole_download(client: Any, method: str) -> None:
    image_id = await client.add(DATA)
    answer = await client.download(image_id, method)
    assert (answer.status, answer.body) == (200, DATA if method == "GET" else b"")
    told = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(len(DATA)),
        "Content-MD5": MD5,
        "Accept-Ranges": "bytes",
        "ETag": f'"{image_id}"',
    }
    assert {name: answer.headers[name] for name in told} == told
    assert answer.headers["x-openstack-request-id"].startswith("req-")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("0-0", 0, 1),
        ("0-", 0, len(DATA)),
        ("700000-710000", 700_000, 710_001),
        ("-1", len(DATA) - 1, len(DATA)),
        ("-99999999", 0, len(DATA)),
        ("767999-99999999", len(DATA) - 1, len(DATA)),
    ],
)
async def test_ranges(client: Any, asked: str, start: int, stop: int) -> None:
    image_id = await client.add(DATA)
    answer = await client.download(image_id, Range=f"bytes={asked}")
    assert (answer.status, answer.body) == (206, DATA[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.headers["Content-MD5"] == MD5  # of the whole, as in Glance
    assert answer.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": f"bytes={len(DATA)}-"}, 416),
        ({"Range": "bytes=5-2"}, 416),
        ({"Range": "rubbish"}, 416),
        ({"Content_Range": "rubbish"}, 416),
        ({"Range": "bytes=0-1,3-4"}, 400),
        ({"Content_Range": "bytes 0-1/2"}, 206),
        ({"Range": "bytes=0-1", "If_Range": '"other"'}, 200),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"other"'}, 200),
    ],
    ids=str,
)
async def test_conditions(client: Any, headers: dict[str, str], status: int) -> None:
    image_id = await client.add(DATA)
    answer = await client.download(image_id, **headers)
    assert answer.status == status
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"
    if status == 304:
        assert answer.headers["ETag"] == f'"{image_id}"'


async def test_a_resume_with_the_tag(client: Any) -> None:
    image_id = await client.add(DATA)
    etag = (await client.download(image_id, "HEAD")).headers["ETag"]
    answer = await client.download(image_id, Range="bytes=100-", If_Range=etag)
    assert (answer.status, answer.body) == (206, DATA[100:])


async def test_head_has_no_ranges(client: Any) -> None:
    image_id = await client.add(DATA)
    answer = await client.download(image_id, "HEAD", Range="bytes=0-1")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(DATA)))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1"}])
async def test_an_image_without_data(client: Any, method: str, headers: dict[str, str]) -> None:
    image_id = await client.create()
    answer = await client.download(image_id, method, **headers)
    assert (answer.status, answer.body) == (204, b"")


async def test_lost_data(client: Any, catalog: Any) -> None:
    image_id = await client.add(DATA)
    (catalog.data / image_id).unlink()
    assert (await client.download(image_id)).status == 204


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_data_of_another_length_is_not_begun(client: Any, catalog: Any, method: str) -> None:
    image_id = await client.add(DATA)
    (catalog.data / image_id).write_bytes(DATA + b"x")
    assert (await client.download(image_id, method)).status == (503 if method == "GET" else 200)


async def test_data_that_ends_early_resets_the_connection(
    client: Any, catalog: Any, raw: Any
) -> None:
    image_id = await client.create()
    await client.upload(image_id, in_pieces(bytes(LARGE), 1 << 20))
    raw[1].write(f"GET /v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await raw[0].readuntil(b"\r\n\r\n")
    assert f"Content-Length: {LARGE}".encode() in head
    os.truncate(catalog.data / image_id, 1 << 20)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await raw[0].readexactly(LARGE)


async def test_a_stop_cuts_off_what_does_not_end(settings: Any, stores: Any) -> None:
    await sync_database(settings)
    async with listening(replace(settings, drain_seconds=0.0), stores) as (host, port):
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            answer = await session.post("/v2/images", json=FORMATS)
            image_id = (await answer.json())["id"]
        reader, writer = await asyncio.open_connection(host, port)
        await upload_head((reader, writer), image_id, "Content-Length: 10")
        writer.write(b"half")
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            for _ in range(QUESTIONS_MAX):
                answer = await session.get(f"/v2/images/{image_id}")
                if (await answer.json())["status"] == "saving":
                    break
    assert await reader.read() == b""
    writer.close()
    async with (
        listening(settings, stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        answer = await session.get(f"/v2/images/{image_id}")
        assert (await answer.json())["status"] == "queued"
    assert list(stores.stores[0].options.directories[0].path.iterdir()) == []
