"""The feed of changes below HTTP: what it tells, to whom, and how waiting ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import sqlalchemy as sa

from harness.waiting import until_async
from registry.db import changes
from registry.db.changes import add_change, get_history, renew_feed
from registry.db.database import Database
from registry.db.images import move_image
from registry.db.options import DatabaseSettings
from registry.db.tables import image_changes
from registry.domain.changes import ChangeKind, ChangePage, kind_of
from registry.domain.errors import ForbiddenError, GoneError, InvalidRequestError
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.status import TRANSITIONS, Status
from registry.service.changes import ChangeFeed, ChangeQuestion
from registry.service.images import Images
from registry.service.uploads import Upload, Uploads

LONG = 3600.0  # longer than any test may take
TURNS_MAX = 1_000_000


@pytest.fixture
async def feed(database: Database) -> AsyncIterator[ChangeFeed]:
    feed = ChangeFeed(database)
    watching = asyncio.create_task(feed.watch())
    yield feed
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def stand(feed: ChangeFeed) -> tuple[str, int]:
    page = await feed.ask(EVERYBODY, ChangeQuestion(None, 1000, 0))
    assert page.changes == ()
    return page.epoch, page.last


async def ask(
    feed: ChangeFeed, behind: tuple[str, int], *, limit: int = 1000, wait: float = 0
) -> ChangePage:
    return await feed.ask(EVERYBODY, ChangeQuestion(behind, limit, wait))


def told(page: ChangePage) -> list[tuple[str, str]]:
    return [(change.image_id, str(change.kind)) for change in page.changes]


async def new_image(images: Images) -> str:
    described = {"container_format": "bare", "disk_format": "raw"}
    return str((await images.create(EVERYBODY, described))["id"])


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def tell(database: Database, count: int) -> None:
    async with database.write() as connection:
        for number in range(count):
            await add_change(connection, str(number), ChangeKind.DELETED)


def test_each_step_of_an_images_life() -> None:
    worth_telling = {
        (now, then): kind_of(now, then)
        for now, afterwards in TRANSITIONS.items()
        for then in afterwards
    }
    came = {(now, Status.ACTIVE) for now in TRANSITIONS} & worth_telling.keys()
    gone = {(now, Status.DELETED) for now in TRANSITIONS} & worth_telling.keys()
    expected: dict[tuple[Status, Status], str] = {
        **dict.fromkeys(came, "data"),
        **dict.fromkeys(gone, "deleted"),
        (Status.DEACTIVATED, Status.ACTIVE): "reactivated",
        (Status.ACTIVE, Status.DEACTIVATED): "deactivated",
        (Status.ACTIVE, Status.PENDING_DELETE): "deleted",
    }
    del expected[Status.PENDING_DELETE, Status.DELETED]  # told already
    assert {step: kind for step, kind in worth_telling.items() if kind} == expected


async def test_a_life_is_told(
    feed: ChangeFeed, images: Images, uploads: Uploads, database: Database
) -> None:
    start = await stand(feed)
    image_id = await new_image(images)
    await images.add_tag(EVERYBODY, image_id, "x")
    assert told(await ask(feed, start)) == []
    await uploads.upload(EVERYBODY, image_id, Upload(None, None), body(b"data"))
    moment = (await images.show(EVERYBODY, image_id))["updated_at"]
    assert moment
    for now, then in ((Status.ACTIVE, Status.DEACTIVATED), (Status.DEACTIVATED, Status.ACTIVE)):
        async with database.write() as connection:
            when = sa.func.current_timestamp()
            assert await move_image(connection, image_id, now, then, when)  # type: ignore[arg-type]  # the database's own clock does as well
    await images.delete(EVERYBODY, image_id)
    page = await ask(feed, start)
    kinds = ("data", "deactivated", "reactivated", "deleted")
    assert told(page) == [(image_id, kind) for kind in kinds]
    assert [change.seq for change in page.changes] == [1, 2, 3, 4]
    assert (page.epoch, page.last) == (start[0], 4)


async def test_what_fails_is_not_told(
    feed: ChangeFeed, images: Images, uploads: Uploads, database: Database
) -> None:
    start = await stand(feed)
    image_id = await new_image(images)
    with pytest.raises(InvalidRequestError):
        await uploads.upload(EVERYBODY, image_id, Upload(5, None), body(b"data"))
    async with database.write() as connection:
        await add_change(connection, image_id, ChangeKind.DATA)
        await connection.rollback()
    assert await stand(feed) == start


async def test_a_page_at_a_time(feed: ChangeFeed, database: Database) -> None:
    epoch, after = await stand(feed)
    await tell(database, 5)
    seen: list[str] = []
    sizes: list[int] = []
    while page := (await ask(feed, (epoch, after), limit=2)).changes:
        seen += [change.image_id for change in page]
        sizes.append(len(page))
        after = page[-1].seq
    assert (seen, sizes) == (list("01234"), [2, 2, 1])


async def test_the_oldest_are_forgotten(
    feed: ChangeFeed, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "CHANGES_KEPT", 3)
    epoch, start = await stand(feed)
    await tell(database, 3)
    assert len((await ask(feed, (epoch, start))).changes) == 3
    await tell(database, 2)
    for after in (0, 1):
        with pytest.raises(GoneError):
            await ask(feed, (epoch, after))
    assert [change.seq for change in (await ask(feed, (epoch, 2))).changes] == [3, 4, 5]
    assert (await ask(feed, (epoch, 5))).changes == ()
    async with database.read() as connection:
        count = sa.select(sa.func.count()).select_from(image_changes)
        assert (await connection.execute(count)).scalar_one() == 3


async def test_numbers_that_were_never_told(feed: ChangeFeed, database: Database) -> None:
    await tell(database, 2)
    epoch, last = await stand(feed)
    for behind in ((epoch, last + 1), ("other", last), ("", 0)):
        with pytest.raises(GoneError, match="ask without after"):
            await ask(feed, behind)


async def test_a_new_epoch(feed: ChangeFeed, database: Database) -> None:
    await tell(database, 2)
    before = await stand(feed)
    async with database.write() as connection:
        await renew_feed(connection)
    epoch, last = await stand(feed)
    assert last == 0
    assert epoch != before[0]
    with pytest.raises(GoneError):
        await ask(feed, before)


async def test_who_may_ask(feed: ChangeFeed) -> None:
    service = Identity("p1", "u1", is_admin=False, roles=frozenset({"service"}))
    member = Identity("p1", "u1", is_admin=False, roles=frozenset({"member", "reader"}))
    question = ChangeQuestion(None, 1, 0)
    assert (await feed.ask(service, question)).last == 0
    with pytest.raises(ForbiddenError):
        await feed.ask(member, question)


async def waiting(feed: ChangeFeed, count: int) -> list[asyncio.Task[ChangePage]]:
    """Have some ask and wait, and return once all of them do."""
    behind = await stand(feed)
    tasks = [asyncio.create_task(ask(feed, behind, wait=LONG)) for _ in range(count)]
    await all_wait(feed, count)
    return tasks


async def all_wait(feed: ChangeFeed, count: int) -> None:
    """Wait until so many wait, and none of them has to look for himself when he is woken."""
    for _ in range(TURNS_MAX):
        if feed._waiters == count and feed._tail is not None:
            return
        await asyncio.sleep(0)
    pytest.fail("they do not wait")


async def test_all_who_wait_are_told_at_once(
    feed: ChangeFeed, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.service.changes.POLL_SECONDS", LONG)
    for number in range(3):
        tasks = await waiting(feed, 20)
        await tell(database, 1)
        pages = await asyncio.gather(*tasks)
        assert {change.seq for page in pages for change in page.changes} == {number + 1}
    assert feed._waiters == 0


async def test_whoever_waits_is_told_the_same_from_memory_as_from_the_database(
    feed: ChangeFeed, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.service.changes.TAIL_CHANGES", 3)
    epoch, _ = await stand(feed)
    (task,) = await waiting(feed, 1)
    await tell(database, 6)
    await task
    for after in range(6):
        for limit in (1, 2, 1000):
            plain = await ask(feed, (epoch, after), limit=limit)
            assert await ask(feed, (epoch, after), limit=limit, wait=LONG) == plain
    for behind in ((epoch, 7), ("other", 6), ("other", 0)):
        with pytest.raises(GoneError):
            await ask(feed, behind, wait=LONG)


async def test_a_crowd_costs_the_database_one_look(
    feed: ChangeFeed, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.service.changes.POLL_SECONDS", LONG)
    (task,) = await waiting(feed, 1)
    await tell(database, 1)
    await task  # from here on, the newest are in memory
    epoch, last = await stand(feed)
    looks: list[None] = []
    for engine in (database._reading, database._writing):
        sa.event.listen(engine.sync_engine, "begin", lambda _: looks.append(None))
    tasks = [asyncio.create_task(ask(feed, (epoch, last), wait=LONG)) for _ in range(50)]
    await all_wait(feed, 50)
    await tell(database, 1)
    pages = await asyncio.gather(*tasks)
    assert {change.seq for page in pages for change in page.changes} == {last + 1}
    assert len(looks) <= 4  # the watcher's, when the first waited and after the write; the write


async def test_other_writes_wake_nobody(feed: ChangeFeed, images: Images) -> None:
    (task,) = await waiting(feed, 1)
    image_id, *_ = [await new_image(images) for _ in range(5)]
    assert not task.done()
    await images.delete(EVERYBODY, image_id)
    assert told(await task) == [(image_id, "deleted")]


async def test_another_instance_tells(
    feed: ChangeFeed, empty_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.service.changes.POLL_SECONDS", 0.01)
    other = await asyncio.to_thread(Database, empty_settings)
    try:
        (task,) = await waiting(feed, 1)
        await tell(other, 1)
        assert told(await task) == [("0", "deleted")]
        (task,) = await waiting(feed, 1)
        async with other.write() as connection:
            await renew_feed(connection)
        with pytest.raises(GoneError):
            await task
    finally:
        await other.aclose()


async def test_nothing_comes(feed: ChangeFeed) -> None:
    behind = await stand(feed)
    page = await ask(feed, behind, wait=0.01)
    assert (page.changes, page.epoch, page.last) == ((), *behind)
    assert feed._waiters == 0


async def test_who_stops_waiting_leaves_nothing(feed: ChangeFeed, database: Database) -> None:
    tasks = await waiting(feed, 2)
    tasks[0].cancel()
    await asyncio.wait({tasks[0]})
    assert feed._waiters == 1
    await tell(database, 1)
    assert len((await tasks[1]).changes) == 1
    assert feed._waiters == 0


async def test_waiting_outlives_a_database_that_fails(
    feed: ChangeFeed,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("registry.service.changes.POLL_SECONDS", 0.01)

    async def rename(now: str, then: str) -> None:
        async with database.write() as connection:
            await connection.execute(sa.text(f"ALTER TABLE {now} RENAME TO {then}"))

    (task,) = await waiting(feed, 1)
    await rename("change_feed", "away")
    await until_async("a look in vain", lambda: "goes on waiting" in caplog.text)
    assert not task.done()
    await rename("away", "change_feed")
    await tell(database, 1)
    assert told(await task) == [("0", "deleted")]


async def test_a_stop_ends_the_waiting(feed: ChangeFeed) -> None:
    tasks = await waiting(feed, 3)
    feed.close()
    assert [page.changes for page in await asyncio.gather(*tasks)] == [()] * 3
    assert (await ask(feed, await stand(feed), wait=LONG)).changes == ()


async def test_numbers_follow_the_transactions(
    database: Database, empty_settings: DatabaseSettings
) -> None:
    """Whoever reads up to a number misses nothing below it, however many write at once."""
    others = [await asyncio.to_thread(Database, empty_settings) for _ in range(3)]
    try:
        await asyncio.gather(*(tell(each, 2) for each in others for _ in range(5)))
        async with database.read() as connection:
            rows = (await connection.execute(sa.select(image_changes.c.seq))).scalars().all()
            history = await get_history(connection)
        assert sorted(rows) == list(range(1, 31))
        assert (history.floor, history.last) == (0, 30)
    finally:
        for each in others:
            await each.aclose()
