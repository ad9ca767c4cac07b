"""Uploads that are continued: what who was before has left, and what two do at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from backends.memory import MemoryStore
from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.databases import Server
from registry.db.database import Connection, Database
from registry.db.discards import image_discards
from registry.db.images import get_image
from registry.db.parts import PartRow, add_part, complete_part
from registry.db.uploads import UploadRow, get_upload, take_upload
from registry.domain import errors
from registry.domain.identity import EVERYBODY
from registry.domain.job import Job
from registry.domain.limits import Limits
from registry.domain.status import Status
from registry.quotas.quotas import Quotas
from registry.service import resumable
from registry.service.attempts import Attempt
from registry.service.discards import Discards
from registry.service.images import Images
from registry.service.janitor import Janitor
from registry.service.leases import Lease, Leases
from registry.service.resumable import ResumableUploads
from registry.service.stores import Stores
from registry.service.uploads import Upload, Uploads

DATA = b"continued" * 100


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


@pytest.fixture
def continued(
    *, database: Database, stores: Stores, uploads: Uploads, leases: Leases, limits: Limits
) -> ResumableUploads:
    return ResumableUploads(
        database,
        stores,
        uploads=uploads,
        leases=leases,
        quotas=Quotas(database),
        limits=limits,
        discards=Discards(database, stores),
        kept_seconds=3600,
    )


@pytest.fixture
async def image_id(images: Images, continued: ResumableUploads) -> str:
    described = {"container_format": "bare", "disk_format": "raw"}
    image_id = str((await images.create(EVERYBODY, described))["id"])
    await continued.begin(EVERYBODY, image_id, Upload(None, None))
    return image_id


async def body(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def nothing(*_: object) -> None:
    pass


async def status(database: Database, image_id: str) -> Status:
    image = await database.query(get_image, image_id)
    assert image is not None
    return image.status


async def finish_and_die(continued: ResumableUploads, image_id: str) -> None:
    """Be killed when all of the image is in the store, before the record knows."""

    async def dying(*_: object) -> None:
        raise KeyboardInterrupt

    async def nobody_asks(*_: object) -> bool:
        return True

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Attempt, "enter", dying)
        patched.setattr(Attempt, "has", nobody_asks)
        patched.setattr(continued, "_undo", nothing)
        with pytest.raises(KeyboardInterrupt):
            await continued.append(EVERYBODY, image_id, 0, body(DATA), completes=True)


@pytest.mark.parametrize("way", ["cancel", "janitor"])
async def test_what_a_dead_finisher_left_is_given_up_with_the_upload(
    *,
    continued: ResumableUploads,
    database: Database,
    store: MemoryStore,
    image_id: str,
    way: str,
) -> None:
    await finish_and_die(continued, image_id)
    assert image_id in store.names
    if way == "cancel":
        await continued.cancel(EVERYBODY, image_id)
    else:
        async with database.write() as connection:
            await connection.execute(sa.text("UPDATE image_uploads SET kept_until = 1"))
        row = await database.query(get_upload, image_id)
        assert row is not None
        await continued.settle(row)
    assert store.names == frozenset()
    assert await status(database, image_id) is Status.QUEUED
    assert await database.query(get_upload, image_id) is None


async def test_what_is_settled_is_not_taken_for_lost(
    *,
    continued: ResumableUploads,
    database: Database,
    store: MemoryStore,
    stores: Stores,
    images: Images,
    leases: Leases,
    image_id: str,
) -> None:
    await continued.append(EVERYBODY, image_id, 0, body(DATA), completes=False)
    await images.delete(EVERYBODY, image_id)

    class Slow(Discards):
        async def carry_out(self, image_id: str) -> None:
            await leases.renew()  # the row has gone
            await asyncio.sleep(0)
            await super().carry_out(image_id)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(continued, "_discards", Slow(database, stores))
        outcomes: list[tuple[str, str]] = []
        janitor = Janitor(
            *(database, stores, leases, continued.settle),
            lambda *outcome: outcomes.append(outcome),
            sleep=nothing,
        )
        await janitor.work(Job("1", "janitor", None, {}, 1, 1))
    assert [outcome for _, outcome in outcomes] == ["cleared"]
    assert (store.names, await database.query(get_upload, image_id)) == (frozenset(), None)
    assert await database.query(image_discards, image_id) == []


@pytest.mark.parametrize("is_settled", [True, False])
async def test_a_dead_finisher_is_followed(
    *,
    continued: ResumableUploads,
    database: Database,
    store: MemoryStore,
    image_id: str,
    is_settled: bool,
) -> None:
    await finish_and_die(continued, image_id)
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE image_uploads SET expires_at = 1"))
    if is_settled:
        row = await database.query(get_upload, image_id)
        assert row is not None
        assert row.begun == "memory"
        await continued.settle(row)
        assert image_id not in store.names
    await continued.append(EVERYBODY, image_id, len(DATA), body(b""), completes=True)
    assert store._objects == {image_id: DATA}
    assert await status(database, image_id) is Status.ACTIVE


async def test_more_may_be_appended_behind_a_dead_finisher(
    continued: ResumableUploads, database: Database, store: MemoryStore, image_id: str
) -> None:
    await finish_and_die(continued, image_id)
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE image_uploads SET expires_at = 1"))
    await continued.append(EVERYBODY, image_id, len(DATA), body(b"more"), completes=False)
    await continued.append(EVERYBODY, image_id, len(DATA) + 4, body(b""), completes=True)
    assert store._objects == {image_id: DATA + b"more"}
    assert await status(database, image_id) is Status.ACTIVE


async def test_what_was_there_before_the_upload_stays(
    continued: ResumableUploads, database: Database, store: MemoryStore, image_id: str
) -> None:
    async with store.create(image_id) as writer:
        await writer.write(b"somebody's")
        await writer.commit()
    for _ in range(2):
        offset = (await continued.standing(EVERYBODY, image_id)).offset
        with pytest.raises(errors.ConflictError):
            await continued.append(EVERYBODY, image_id, offset, body(b"x"), completes=True)
    await continued.cancel(EVERYBODY, image_id)
    assert store._objects == {image_id: b"somebody's"}
    assert await status(database, image_id) is Status.QUEUED


async def test_a_part_that_comes_while_the_upload_is_taken_counts(
    continued: ResumableUploads,
    database: Database,
    image_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holder = Lease().holder
    row = await database.query(get_upload, image_id)
    assert row is not None
    assert await database.change(take_upload, row, holder, 60)
    held = UploadRow(image_id, holder, "memory")
    part = PartRow("a part", 0, 5, "memory:///a%20part")
    assert await database.change(add_part, held, part, 60)

    async def taking(connection: Connection, *arguments: Any) -> bool:
        if database.kind != "sqlite":  # there transactions are one behind the other
            assert await database.change(complete_part, held, part, 60)
        return await take_upload(connection, *arguments)

    if database.kind == "sqlite":
        assert await database.change(complete_part, held, part, 60)
    monkeypatch.setattr(resumable, "take_upload", taking)
    with pytest.raises(errors.OffsetError) as refused:
        await continued.append(EVERYBODY, image_id, 0, body(b"again"), completes=False)
    assert refused.value.expected == 5
    after = await database.query(get_upload, image_id)
    assert after is not None
    assert after.holder == holder
