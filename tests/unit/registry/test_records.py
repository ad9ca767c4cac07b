"""Records that are remembered: never for longer than they are so, whoever changes the database."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.databases import Server
from registry.db.database import Connection, Database
from registry.db.images import add_image, get_image
from registry.db.members import add_member
from registry.db.moments import Moments
from registry.db.options import DatabaseSettings
from registry.domain.image import Image
from registry.domain.member import Member, MemberStatus
from registry.service import records as module
from registry.service.records import Records

NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's are
IMAGE = Image(id="one", created_at=NOW, updated_at=NOW, name="first", owner="p")


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


@pytest.fixture
async def records(database: Database) -> Records:
    await database.tell_moments()
    await database.change(add_image, IMAGE)
    return Records(database)


@pytest.fixture
async def other(empty_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Open the database once more, as another instance does."""
    other = await asyncio.to_thread(Database, empty_settings)
    yield other
    await other.aclose()


async def rename(connection: Connection, name: str) -> None:
    await connection.exec_driver_sql(f"UPDATE images SET name = '{name}'")


@pytest.mark.parametrize("by_another", [False, True])
async def test_every_change_is_seen_at_once(
    database: Database, other: Database, records: Records, by_another: bool
) -> None:
    writer = other if by_another else database
    for number in range(3):
        await writer.change(rename, f"name {number}")
        assert records.known("one") is None
        found = await records.get("one")
        assert found is not None
        assert found.name == f"name {number}"


async def test_members_are_of_the_record(other: Database, records: Records) -> None:
    await records.get("one")
    member = Member("one", "guest", MemberStatus.ACCEPTED, NOW, NOW)
    await other.change(add_member, member)
    found = await records.get("one")
    assert found is not None
    assert found.members == ("guest",)


async def test_only_who_can_tell_moments_remembers(
    database: Database, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _counted(monkeypatch)
    assert [await records.get("one") for _ in range(3)] == [IMAGE] * 3
    if database.kind == "sqlite":
        assert len(asked) == 1
        assert records.known("one") == IMAGE
    else:  # servers: a question for the version would cost as much as the record
        assert len(asked) == 3
        assert records.known("one") is None


async def test_what_is_committed_while_it_is_read_is_not_missed(
    other: Database, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(connection: Connection, image_id: str) -> Image | None:
        found = await get_image(connection, image_id)
        await other.change(rename, "meanwhile")
        return found

    monkeypatch.setattr(module, "get_image", late)
    await records.get("one")
    monkeypatch.undo()
    found = await records.get("one")
    assert found is not None
    assert found.name == "meanwhile"


async def test_images_that_are_not_there_are_not_remembered(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _counted(monkeypatch)
    assert await records.get("two") is None
    assert await records.get("two") is None
    assert len(asked) == 2


async def test_the_longest_unused_goes(
    database: Database, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORDS_MAX", 1)
    await database.change(add_image, Image(id="two", created_at=NOW, updated_at=NOW))
    await records.get("one")
    await records.get("two")
    assert records.known("one") is None
    assert repr(records) == f"<Records {int(database.kind == 'sqlite')} remembered>"


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    async def counting(connection: Connection, image_id: str) -> Image | None:
        asked.append(image_id)
        return await get_image(connection, image_id)

    monkeypatch.setattr(module, "get_image", counting)
    return asked


class TestMoments:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "a file of a database"
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE numbers (number INTEGER)")
        return file

    @pytest.fixture
    def moments(self, file: Path) -> Any:
        moments = Moments(file)
        moments.open()
        yield moments
        moments.close()

    def test_another_process_makes_a_new_one(self, file: Path, moments: Moments) -> None:
        before = moments.now()
        assert before is not None
        assert moments.now() == before
        statement = "INSERT INTO numbers VALUES (1)"
        program = f"import sqlite3; c = sqlite3.connect({str(file)!r}); c.execute({statement!r}); c.commit()"
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
        assert moments.now() not in {before, None}

    def test_what_is_undone_makes_none(self, file: Path, moments: Moments) -> None:
        before = moments.now()
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("INSERT INTO numbers VALUES (1)")
            assert moments.now() == before
            connection.rollback()
        assert moments.now() == before

    def test_the_log_can_be_begun_anew(self, file: Path, moments: Moments) -> None:
        """A statement that were left open would keep the log from ever being cut."""
        moments.now()
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("INSERT INTO numbers VALUES (1)")
            connection.commit()
            moments.now()
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)

    def test_none_is_told_before_and_after(self, file: Path) -> None:
        moments = Moments(file)
        assert moments.now() is None
        moments.open()
        moments.close()
        assert moments.now() is None

    def test_none_is_told_without_shared_memory(self, tmp_path: Path) -> None:
        file = tmp_path / "other"
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("CREATE TABLE numbers (number INTEGER)")
        moments = Moments(file)
        moments.open()
        assert moments.now() is None
