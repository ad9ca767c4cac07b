"""Uploads that break off and go on at the byte."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from api.registry.conftest import Client
from backends.configuration import StoreSettings, StoresSettings
from backends.file.newfile import NewFile
from backends.options import DataDirectory, FilesystemOptions
from harness.waiting import passing, until_async
from registry.app import listening
from registry.db.database import Database
from registry.quotas.options import QuotaSettings
from registry.service import intake, parts
from registry.service.intake import take_in
from registry.service.options import UploadSettings
from registry.upkeep import sync_database

DATA = bytes(range(256)) * 3000
HALF = len(DATA) // 2
PARTIAL = {"Content-Type": "application/partial-upload"}
OCTETS = {"Content-Type": "application/octet-stream"}
FORMATS = {"disk_format": "raw", "container_format": "bare"}
NOTICED_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", len(DATA) // 5)


class Written(Counter[str]):
    """How many bytes were written to files, by their names' beginning: the image's id."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    counts = Written()
    write = NewFile.write

    def counting(self: NewFile, data: memoryview) -> None:
        write(self, data)
        counts[self._name.partition(".")[0]] += data.nbytes

    monkeypatch.setattr(NewFile, "write", counting)
    return counts


async def pieces(data: bytes, length: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), length):
        yield data[start : start + length]


async def begin(client: Any, image_id: str, data: Any, complete: str = "?0", **more: str) -> Any:
    return await client.upload(image_id, data, **{"Upload-Complete": complete, **more})


async def append(
    client: Any, image_id: str, offset: int, data: Any, complete: str = "?1", **more: str
) -> Any:
    headers = {"Upload-Offset": str(offset), "Upload-Complete": complete, **PARTIAL, **more}
    return await client.call("PATCH", f"/{image_id}/upload", data=data, headers=headers)


async def standing(client: Any, image_id: str) -> tuple[int, str, str | None]:
    answer = await client.call("HEAD", f"/{image_id}/upload")
    assert answer.status == 204, answer.status
    told = answer.headers
    assert told["Cache-Control"] == "no-store"
    return int(told["Upload-Offset"]), told["Upload-Complete"], told.get("Upload-Length")


async def assert_active(client: Any, catalog: Any, image_id: str, data: bytes = DATA) -> None:
    image = await client.show(image_id)
    assert (image["status"], image["size"]) == ("active", len(data))
    assert image["os_hash_value"] == hashlib.sha512(data).hexdigest()
    assert image["checksum"] == hashlib.md5(data).hexdigest()
    assert (await client.download(image_id)).body == data
    assert catalog.files() == {image_id: data}
    assert await standing(client, image_id) == (len(data), "?1", str(len(data)))


async def test_in_one_request(client: Any, catalog: Any) -> None:
    image_id = await client.create()
    answer = await begin(client, image_id, pieces(DATA), "?1")
    assert (answer.status, answer.headers["Upload-Complete"]) == (204, "?1")
    await assert_active(client, catalog, image_id)


async def test_in_several_requests(client: Any, catalog: Any) -> None:
    image_id = await client.create()
    answer = await begin(client, image_id, DATA[:1000], **{"Upload-Length": str(len(DATA))})
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "1000")
    assert answer.headers["Upload-Limit"] == "max-age=86400"
    assert (await client.show(image_id))["status"] == "saving"
    assert await standing(client, image_id) == (1000, "?0", str(len(DATA)))
    assert (await append(client, image_id, 1000, DATA[1000:HALF], "?0")).status == 204
    assert (await append(client, image_id, HALF, b"", "?0")).status == 204
    assert (await append(client, image_id, HALF, DATA[HALF:])).status == 204
    await assert_active(client, catalog, image_id)


async def test_an_empty_image(client: Any, catalog: Any) -> None:
    image_id = await client.create()
    assert (await begin(client, image_id, b"")).status == 204
    assert (await append(client, image_id, 0, b"")).status == 204
    await assert_active(client, catalog, image_id, b"")


async def broken_off(*, client: Any, raw: Any, written: Written, image_id: str, count: int) -> int:
    """Send so many bytes of all, and vanish; return how many are there once that was noticed."""
    head = [
        f"PUT /v2/images/{image_id}/file HTTP/1.1",
        "Host: x",
        "Content-Type: application/octet-stream",
        "Upload-Complete: ?1",
        f"Content-Length: {len(DATA)}",
    ]
    raw[1].write("\r\n".join([*head, "", ""]).encode() + DATA[:count])
    await raw[1].drain()
    await until_async("what was sent", lambda: written[image_id] == count)
    raw[1].close()
    async with asyncio.timeout(NOTICED_SECONDS):
        while (await standing(client, image_id))[0] != count:
            await passing(0.02)
    return count


@pytest.mark.parametrize("count", [1, 10_000, HALF, len(DATA) - 1])
async def test_broken_off_and_continued(
    *, client: Any, catalog: Any, raw: Any, written: Written, count: int
) -> None:
    image_id = await client.create()
    offset = await broken_off(
        client=client, raw=raw, written=written, image_id=image_id, count=count
    )
    assert await standing(client, image_id) == (offset, "?0", str(len(DATA)))
    assert (await append(client, image_id, offset, pieces(DATA[offset:]))).status == 204
    await assert_active(client, catalog, image_id)


async def test_continued_at_another_instance(
    *, client: Any, catalog: Any, raw: Any, written: Written, settings: Any, stores: Any
) -> None:
    image_id = await client.create()
    offset = await broken_off(
        client=client, raw=raw, written=written, image_id=image_id, count=HALF
    )
    async with (
        listening(settings, stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        path = f"/v2/images/{image_id}/upload"
        async with session.head(path) as told:
            assert told.headers["Upload-Offset"] == str(offset)
        headers = {"Upload-Offset": str(offset), "Upload-Complete": "?1", **PARTIAL}
        async with session.patch(path, data=DATA[offset:], headers=headers) as answer:
            assert answer.status == 204
    await assert_active(client, catalog, image_id)


async def test_whoever_continues_takes_over(
    *, client: Any, catalog: Any, raw: Any, written: Written
) -> None:
    image_id = await client.create()
    assert (await begin(client, image_id, b"")).status == 204
    head = [
        f"PATCH /v2/images/{image_id}/upload HTTP/1.1",
        "Host: x",
        "Content-Type: application/partial-upload",
        "Upload-Offset: 0",
        "Upload-Complete: ?1",
        f"Content-Length: {len(DATA)}",
    ]
    raw[1].write("\r\n".join([*head, "", ""]).encode() + b"others")
    await until_async("the first", lambda: written[image_id] == len(b"others"))
    assert (await append(client, image_id, 0, DATA)).status == 204
    await assert_active(client, catalog, image_id)
    raw[1].write(bytes(len(DATA) - len(b"others")))
    assert b" 503 " in await raw[0].readline()
    await assert_active(client, catalog, image_id)


@dataclass
class Finisher:
    """The first who makes an image of its parts; it waits to be let on."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    count: int = 0


@pytest.fixture
def finisher(monkeypatch: pytest.MonkeyPatch) -> Finisher:
    finisher = Finisher()

    async def waiting(*arguments: Any) -> dict[str, object]:
        finisher.count += 1
        if finisher.count == 1:
            finisher.begun.set()
            await finisher.may_go_on.wait()
        return await take_in(*arguments)

    monkeypatch.setattr(intake, "take_in", waiting)
    return finisher


async def test_who_finishes_is_not_robbed_by_retries(
    client: Any, catalog: Any, finisher: Finisher
) -> None:
    image_id = await client.create()
    assert (await begin(client, image_id, DATA)).status == 204
    first = asyncio.create_task(append(client, image_id, len(DATA), b""))
    await finisher.begun.wait()
    for complete in ("?1", "?0"):
        assert (await append(client, image_id, len(DATA), b"", complete)).status == 409
    assert await standing(client, image_id) == (len(DATA), "?0", None)
    finisher.may_go_on.set()
    assert (await first).status == 204
    assert finisher.count == 1
    await assert_active(client, catalog, image_id)


async def test_given_up_while_it_is_finished(client: Any, catalog: Any, finisher: Finisher) -> None:
    image_id = await client.create()
    assert (await begin(client, image_id, DATA)).status == 204
    first = asyncio.create_task(append(client, image_id, len(DATA), b""))
    await finisher.begun.wait()
    assert (await client.call("DELETE", f"/{image_id}/upload")).status == 204
    assert (await client.show(image_id))["status"] == "queued"
    finisher.may_go_on.set()
    assert (await first).status >= 400
    assert ((await client.show(image_id))["status"], catalog.files()) == ("queued", {})


async def test_a_finisher_that_is_dead_is_followed(
    *, client: Any, catalog: Any, settings: Any, finisher: Finisher
) -> None:
    image_id = await client.create()
    assert (await begin(client, image_id, DATA)).status == 204
    first = asyncio.create_task(append(client, image_id, len(DATA), b""))
    await finisher.begun.wait()
    database = await asyncio.to_thread(Database, settings.database)
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE image_uploads SET expires_at = 1"))
    await database.aclose()
    assert (await append(client, image_id, len(DATA), b"")).status == 204
    await assert_active(client, catalog, image_id)
    finisher.may_go_on.set()  # it was only frozen
    assert (await first).status >= 400
    await assert_active(client, catalog, image_id)


@pytest.mark.parametrize("offset", [0, 999, 1001, len(DATA)])
async def test_another_byte(client: Any, catalog: Any, offset: int) -> None:
    image_id = await client.create()
    await begin(client, image_id, DATA[:1000])
    answer = await append(client, image_id, offset, DATA[1000:])
    assert (answer.status, answer.headers["Upload-Offset"]) == (409, "1000")
    assert (await append(client, image_id, 1000, DATA[1000:])).status == 204
    await assert_active(client, catalog, image_id)


async def test_another_length(client: Any, catalog: Any) -> None:
    image_id = await client.create()
    await begin(client, image_id, DATA[:1000], **{"Upload-Length": str(len(DATA))})
    assert (await append(client, image_id, 1000, DATA)).status == 400
    assert (
        await append(client, image_id, (await standing(client, image_id))[0], b"")
    ).status == 400
    offset = (await standing(client, image_id))[0]
    assert (await append(client, image_id, offset, DATA[offset:])).status == 204
    await assert_active(client, catalog, image_id)


@pytest.mark.parametrize("told", [True, False])
async def test_within_the_quota(settings: Any, stores: Any, told: bool) -> None:
    await sync_database(settings)
    some = replace(settings, quotas=QuotaSettings(storage=len(DATA) + 1))
    async with (
        listening(some, stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        client = Client(session)
        image_id, other = await client.create(), await client.create()
        length = {"Upload-Length": str(len(DATA))} if told else {}
        assert (await begin(client, image_id, DATA[:HALF], **length)).status == 204
        # What is reserved for the first is not the second's, whether it has come or not.
        assert (await client.upload(other, DATA[HALF:] + b"xx")).status == 413
        assert (await append(client, image_id, HALF, DATA[HALF:], "?0")).status == 204
        assert (await client.upload(other, b"xx")).status == 413
        if not told:
            assert (await append(client, image_id, len(DATA), b"xx")).status == 413
        assert (await append(client, image_id, len(DATA), b"")).status == 204
        assert (await client.upload(other, b"xx")).status == 413
        assert (await client.upload(other, b"x")).status == 204


async def test_given_up(client: Any, catalog: Any) -> None:
    image_id = await client.create()
    await begin(client, image_id, pieces(DATA, 1000))
    assert catalog.files()
    assert (await client.call("DELETE", f"/{image_id}/upload")).status == 204
    assert (await client.show(image_id))["status"] == "queued"
    assert catalog.files() == {}
    assert (await client.call("HEAD", f"/{image_id}/upload")).status == 404
    assert (await append(client, image_id, 0, DATA)).status == 404
    assert (await client.upload(image_id, DATA)).status == 204


async def test_data_that_no_image_may_have(client: Any, catalog: Any) -> None:
    image_id = await client.create(disk_format="qcow2")
    await begin(client, image_id, DATA[:HALF])
    assert (await append(client, image_id, HALF, DATA[HALF:])).status == 415
    assert (await client.show(image_id))["status"] == "queued"
    assert catalog.files() == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Complete": "yes"}, 400),
        ({"Upload-Complete": ""}, 400),
        ({"Upload-Offset": "-1"}, 400),
        ({"Upload-Offset": ""}, 400),
        ({"Content-Type": "application/octet-stream"}, 415),
    ],
)
async def test_what_makes_no_sense(client: Any, headers: dict[str, str], status: int) -> None:
    image_id = await client.create()
    await begin(client, image_id, b"")
    assert (await append(client, image_id, 0, DATA, **headers)).status == status
    assert await standing(client, image_id) == (0, "?0", None)


async def test_an_upload_that_is_none(client: Any, catalog: Any) -> None:
    image_id = await client.create()
    for path in (f"/{image_id}/upload", "/00000000-0000-0000-0000-000000000000/upload"):
        assert (await client.call("HEAD", path)).status == 404
        assert (await client.call("DELETE", path)).status == 404
    assert (await begin(client, image_id, DATA, "?1", **{"X-Image-Meta-Store": "x"})).status == 204
    assert (await begin(client, image_id, DATA)).status == 409
    await assert_active(client, catalog, image_id)


async def test_too_large(client: Any, catalog: Any) -> None:
    image_id = await client.create()
    answer = await begin(client, image_id, b"", **{"Upload-Length": str(1 << 41)})
    assert answer.status == 413
    assert ((await client.show(image_id))["status"], catalog.files()) == ("queued", {})


async def test_the_image_is_deleted(settings: Any, stores: Any, tmp_path: Any) -> None:
    await abandoned(settings, stores, tmp_path, kept_seconds=86_400, deletes=True)


async def test_nobody_continues(settings: Any, stores: Any, tmp_path: Any) -> None:
    await abandoned(settings, stores, tmp_path, kept_seconds=1, deletes=False)


async def abandoned(
    settings: Any, stores: Any, tmp_path: Any, *, kept_seconds: int, deletes: bool
) -> None:
    await sync_database(settings)
    quick = replace(settings, uploads=UploadSettings(1, 1, kept_seconds))
    directory = tmp_path / "images"
    async with (
        listening(quick, stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        async with session.post("/v2/images", json=FORMATS) as answer:
            image_id = (await answer.json())["id"]
        path = f"/v2/images/{image_id}"
        headers = {**OCTETS, "Upload-Complete": "?0"}
        async with session.put(f"{path}/file", data=DATA, headers=headers) as answer:
            assert answer.status == 204
        assert list(directory.iterdir())
        if deletes:
            async with session.delete(path) as answer:
                assert answer.status == 204
        await until_async("the janitor", lambda: not list(directory.iterdir()))
        database = await asyncio.to_thread(Database, settings.database)
        for table in ("image_uploads", "image_upload_parts", "discards"):
            # The data goes before what is known of it.
            await until_empty(database, table)
        await database.aclose()
        if not deletes:
            async with session.get(path) as answer:
                assert (await answer.json())["status"] == "queued"


async def until_empty(database: Database, table: str) -> None:
    async def is_empty() -> bool:
        async with database.read() as connection:
            count = await connection.execute(sa.text(f"SELECT count(*) FROM {table}"))
            return bool(count.scalar_one() == 0)

    await until_async(f"no rows in {table}", is_empty)


async def test_its_store_is_not_configured_any_more(
    settings: Any, stores: Any, tmp_path: Any
) -> None:
    await sync_database(settings)
    quick = replace(settings, uploads=UploadSettings(1, 1, 1))
    async with (
        listening(settings, stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        client = Client(session)
        image_id = await client.create()
        assert (await begin(client, image_id, DATA)).status == 204
    database = await asyncio.to_thread(Database, settings.database)
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE image_uploads SET expires_at = 1"))
    await database.aclose()
    elsewhere = FilesystemOptions((DataDirectory(tmp_path / "elsewhere"),))
    other = StoresSettings((StoreSettings("other", "file", elsewhere),), "other", False)
    async with (
        listening(quick, other) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        client = Client(session)
        while (await client.show(image_id))["status"] == "saving":
            await passing(0.05)
        assert (await client.upload(image_id, DATA)).status == 204
    assert list((tmp_path / "images").iterdir())  # as the log says
