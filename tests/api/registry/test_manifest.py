"""Published manifests over HTTP, read as a proxy reads them: trusting nothing but the name."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from blake3 import blake3

from backends.manifest import MEDIA_TYPE, ManifestName, ManifestRoot
from harness.catalog_database import change_rows
from registry.app import listening
from registry.db.tables import image_manifest_pages, images
from registry.upkeep import sync_database

KIB = 1 << 10
UNKNOWN = "00000000-0000-0000-0000-000000000000"
PAGE_OF_DATA = 1024 * 256 * KIB
DOCUMENT = Path(__file__).parents[3] / "docs" / "manifest.md"


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


@pytest.fixture
def settings(settings: Any) -> Any:
    return replace(settings, manifest_chunk_bytes=256 * KIB)


async def manifest(client: Any, image_id: str, query: str = "", method: str = "GET") -> Any:
    return await client.call(method, f"/{image_id}/manifest{query}")


async def large_image(client: Any) -> str:
    """Add an image of two pages."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(256):
            yield bytes([number % 256]) * (1 << 20)
        yield b"more"

    image_id = await client.create()
    assert (await client.upload(image_id, pieces())).status == 204
    return str(image_id)


async def test_a_chunk_is_proven_from_the_record(client: Any) -> None:
    data = bytes(range(256)) * 3000
    image_id = await client.add(data)
    record = await client.show(image_id)
    assert (await client.call("GET", "")).json()["images"] == [record]
    name = ManifestName.parse(record["os_manifest"])
    answer = await manifest(client, image_id)
    assert (answer.status, answer.content_type) == (200, MEDIA_TYPE)
    root = ManifestRoot.verify(answer.body, name, record["size"], digest)
    body = (await manifest(client, image_id, "?page=0")).body
    (page,) = root.verify_pages(0, 1, body, digest)
    chunks = [data[start : start + 256 * KIB] for start in range(0, len(data), 256 * KIB)]
    assert page == b"".join(map(digest, chunks))


async def test_pages(client: Any) -> None:
    image_id = await large_image(client)
    record = await client.show(image_id)
    answer = await manifest(client, image_id)
    name = ManifestName.parse(record["os_manifest"])
    root = ManifestRoot.verify(answer.body, name, record["size"], digest)
    assert root.shape.page_count == 2
    for first, count in ((0, 1), (1, 1), (0, 2)):
        answer = await manifest(client, image_id, f"?page={first}&pages={count}")
        assert (answer.status, answer.content_type) == (200, MEDIA_TYPE)
        assert len(root.verify_pages(first, count, answer.body, digest)) == count
    for query, told in (
        ("?page=2", "page must be a number from 0 to 1"),
        ("?page=-1", "page must be a number from 0 to 1"),
        ("?page=x", "page must be a number from 0 to 1"),
        ("?page=", "page must be a number from 0 to 1"),
        ("?page=0x1", "page must be a number from 0 to 1"),
        ("?page=%D9%A1", "page must be a number from 0 to 1"),
        (f"?page={'9' * 5000}", "page must be a number from 0 to 1"),
        ("?page=1&pages=2", "pages must be a number from 1 to 1"),
        ("?page=0&pages=0", "pages must be a number from 1 to 2"),
        ("?pages=1", "page is missing"),
    ):
        answer = await manifest(client, image_id, query)
        assert (answer.status, told in answer.text) == (400, True)


async def test_an_answer_has_at_most_64_pages(client: Any, settings: Any) -> None:
    """The rows are made up: an image of 65 pages has 16 GiB."""
    image_id = await client.add(b"")

    pages = [
        {
            "image_id": image_id,
            "number": number,
            "digest": bytes(32),
            "chunk_digests": bytes([number]) * 32 * KIB,
        }
        for number in range(65)
    ]
    await change_rows(
        settings.database,
        images.update().values(size=65 * PAGE_OF_DATA),
        *(image_manifest_pages.insert().values(page) for page in pages),
    )
    answer = await manifest(client, image_id, "?page=1&pages=64")
    assert answer.body == b"".join(bytes([number]) * 32 * KIB for number in range(1, 65))
    answer = await manifest(client, image_id, "?page=0&pages=65")
    assert (answer.status, "from 1 to 64" in answer.text) == (400, True)
    assert len((await manifest(client, image_id)).body) == 24 + 65 * 32


async def test_an_empty_image_has_a_root_only(client: Any) -> None:
    image_id = await client.add(b"")
    record = await client.show(image_id)
    answer = await manifest(client, image_id)
    name = ManifestName.parse(record["os_manifest"])
    assert ManifestRoot.verify(answer.body, name, 0, digest).shape.page_count == 0
    answer = await manifest(client, image_id, "?page=0")
    assert (answer.status, "no pages" in answer.text) == (400, True)


async def test_an_unchanged_manifest_is_not_sent_again(client: Any) -> None:
    image_id = await large_image(client)
    tags: set[str] = set()
    for query in ("", "?page=0", "?page=1", "?page=0&pages=2"):
        answer = await manifest(client, image_id, query)
        assert answer.headers["Cache-Control"] == "private, no-cache"
        head = await manifest(client, image_id, query, "HEAD")
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Length", "Content-Type", "ETag", "Cache-Control"):
            assert head.headers[name] == answer.headers[name]
        assert head.headers["Content-Length"] == str(len(answer.body))
        etag = answer.headers["ETag"]
        for given, status in ((etag, 304), (f"W/{etag}", 304), ("*", 304), ('"other"', 200)):
            asked = {"If-None-Match": given}
            again = await client.call("GET", f"/{image_id}/manifest{query}", headers=asked)
            assert (again.status, again.headers["ETag"]) == (status, etag)
            assert again.body == (answer.body if status == 200 else b"")
        tags.add(etag)
    assert len(tags) == 4  # each part has its own


async def test_only_active_images_have_one(client: Any) -> None:
    image_id = await client.create()
    for query in ("", "?page=0", "?page=x"):
        assert (await manifest(client, image_id, query)).status == 404
        assert (await manifest(client, UNKNOWN, query)).status == 404
    assert (await client.upload(image_id, b"data")).status == 204
    assert (await manifest(client, image_id)).status == 200
    assert (await client.call("DELETE", f"/{image_id}")).status == 204
    assert (await manifest(client, image_id)).status == 404


async def test_none_while_the_upload_runs(client: Any) -> None:
    image_id = await client.create()
    sent, looked = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(1 << 20)
        sent.set()
        await looked.wait()

    async with asyncio.TaskGroup() as group:
        upload = group.create_task(client.upload(image_id, pieces()))
        await sent.wait()
        assert (await manifest(client, image_id)).status == 404
        assert (await client.show(image_id))["os_manifest"] is None
        looked.set()
    assert upload.result().status == 204
    assert (await manifest(client, image_id)).status == 200


async def test_an_image_from_before_has_none(client: Any, settings: Any) -> None:
    image_id = await client.add(b"data")

    await change_rows(
        settings.database, image_manifest_pages.delete(), images.update().values(os_manifest=None)
    )
    answer = await manifest(client, image_id)
    assert (answer.status, "has no manifest" in answer.text) == (404, True)
    assert (await client.show(image_id))["os_manifest"] is None
    assert (await client.download(image_id)).body == b"data"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
async def test_it_is_only_read(client: Any, method: str) -> None:
    image_id = await client.add(b"data")
    answer = await manifest(client, image_id, method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    answer = await client.call("GET", f"/{image_id}/manifest", data=b"body")
    assert answer.status == 400


async def test_images_keep_the_chunks_that_they_were_cut_into(settings: Any, stores: Any) -> None:
    await sync_database(settings)
    ids: list[str] = []
    counts: list[int] = []
    for chunk_bytes in (256 * KIB, 4 << 20):
        changed = replace(settings, manifest_chunk_bytes=chunk_bytes)
        async with (
            listening(changed, stores) as (host, port),
            aiohttp.ClientSession(f"http://{host}:{port}") as session,
        ):
            formats = {"disk_format": "raw", "container_format": "bare"}
            async with session.post("/v2/images", json=formats) as answer:
                ids.append((await answer.json())["id"])
            octets = {"Content-Type": "application/octet-stream"}
            await session.put(
                f"/v2/images/{ids[-1]}/file", data=BytesIO(bytes(5 << 20)), headers=octets
            )
            counts = []
            for image_id in ids:
                async with session.get(f"/v2/images/{image_id}/manifest") as answer:
                    counts.append(ManifestRoot.unpack(await answer.read()).shape.chunk_count)
    assert counts == [20, 2]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_right_to_download(client: Any, catalog: Any, method: str) -> None:
    async def right(image_id: str, query: str = "") -> int:
        return int((await client.call(method, f"/{image_id}/download-right{query}")).status)

    image_id = await client.create()
    assert await right(image_id) == 204  # as the download, which has nothing to send
    assert (await client.upload(image_id, b"data")).status == 204
    assert await right(image_id) == 204
    (catalog.data / image_id).unlink()
    assert await right(image_id) == 204  # no store is asked
    assert await right(image_id, "?prefer=file") == 400  # as the download: there are no several
    assert await right(UNKNOWN) == 404
    assert (await client.call("DELETE", f"/{image_id}")).status == 204
    assert await right(image_id) == 404
    assert (await client.call("POST", f"/{image_id}/download-right")).status == 405


def example() -> tuple[str, bytes, bytes]:
    """Return what docs/manifest.md tells of its example: the name, the root and the page."""
    text = DOCUMENT.read_text()
    (name,) = re.findall(r'"os_manifest": "([^"]+)"', text)
    dumps: list[bytes] = []
    for block in re.findall(r"```hexdump\n(.*?)```", text, re.DOTALL):
        lines = [re.match(r"[0-9a-f]{8}((?: +[0-9a-f]{2})+)", line) for line in block.splitlines()]
        dumps.append(b"".join(bytes.fromhex(line[1]) for line in lines if line))
    root, page = dumps
    return name, root, page


async def test_the_documents_example(client: Any) -> None:
    data = b"".join(b"%07d\n" % number for number in range(37_500))
    assert hashlib.md5(data).hexdigest() in DOCUMENT.read_text()
    image_id = await client.add(data)
    name, root, page = example()
    assert (await client.show(image_id))["os_manifest"] == name
    assert (await manifest(client, image_id)).body == root
    assert (await manifest(client, image_id, "?page=0")).body == page
    for chunk in (data[: 256 * KIB], data[256 * KIB :]):
        assert digest(chunk) in page
