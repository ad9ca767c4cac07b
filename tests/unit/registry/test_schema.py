"""Migrations: they lead to the tables that the code uses, from any start, and only forward."""

from __future__ import annotations

import ast
import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.databases import Server
from registry.db import migrations, upgrading
from registry.db.database import Database
from registry.db.images import add_image, get_image, save_image
from registry.db.listing import list_images
from registry.db.schema import newest_program, schema_state
from registry.db.tables import METADATA
from registry.db.upgrading import upgrade_schema
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.listing import parse_list_query
from registry.errors import ConfigError


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


async def run(database: Database, statement: str, **values: Any) -> None:
    async with database.write() as connection:
        await connection.execute(sa.text(statement), values)


async def tables(database: Database) -> set[str]:
    def names(connection: sa.Connection) -> set[str]:
        return set(sa.inspect(connection).get_table_names())

    async with database.read() as connection:
        return await connection.run_sync(names)


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out the table of revisions, and indexes that each kind of database has its way of."""
    each_its_way = {"ix_image_properties_value", "ix_images_deleted_name"}
    return name in METADATA.tables if kind == "table" else name not in each_its_way


async def test_the_newest_revision_is_known_without_alembic() -> None:
    scripts = await asyncio.to_thread(upgrading._scripts)
    assert await newest_program() == scripts.get_current_head()


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
async def test_the_migrations_make_the_tables(database: Database) -> None:
    def difference(connection: sa.Connection) -> list[object]:
        ours = {"include_name": is_ours}
        return list(compare_metadata(MigrationContext.configure(connection, opts=ours), METADATA))

    async with database.read() as connection:
        assert await connection.run_sync(difference) == []


async def test_from_nothing_and_again(empty: Database) -> None:
    assert (await schema_state(empty)).current is None
    before = await upgrade_schema(empty)
    assert before.current is None
    assert not before.is_newest
    assert (await schema_state(empty)).is_newest
    assert (await upgrade_schema(empty)).is_newest


# What each release wrote, in its own words.
IMAGE = """
    INSERT INTO images (
        id, name, status, visibility, protected, os_hidden, min_disk, min_ram, size, created_at,
        updated_at, deleted
    ) VALUES (
        'old', 'Grün', 'active', 'public', :no, :no, 0, 0, 5, :moment, :moment, :no
    )
"""
CHILDREN = (
    "INSERT INTO image_properties VALUES ('old', 'os_distro', 'debian')",
    "INSERT INTO image_tags VALUES ('old', 'a')",
    "INSERT INTO image_tags VALUES ('old', 'A')",
    "INSERT INTO image_locations (image_id, value, meta_data) VALUES ('old', 'file:///x', '{}')",
)
MANIFEST = "UPDATE images SET os_manifest = 'm' WHERE id = 'old'"
CHANGES = (
    "UPDATE change_feed SET last = 1",
    "INSERT INTO image_changes VALUES (1, 'old', 'data')",
)
MEMBER = "INSERT INTO image_members VALUES ('old', 'p1', 'pending', :moment, :moment)"
JOB = "INSERT INTO jobs (id, kind, arguments, claims, attempts) VALUES ('1', 'import', '{}', 0, 0)"
DISCARD = """
    INSERT INTO discards (image_id, value, meta_data, due_at, attempts)
    VALUES ('gone', 'file:///y', '{}', :moment, 0)
"""
UPLOAD = "INSERT INTO image_uploads (image_id, holder, store, expires_at) VALUES ('i', 'h', 's', 1)"
BEGUN = "INSERT INTO image_uploads (image_id, holder, store, expires_at, begun) VALUES ('j', 'h', 's', 1, 's')"
RESERVED = (
    "INSERT INTO quota_projects VALUES ('p1', 1)",
    "INSERT INTO quota_reservations VALUES ('new', 'image_size_total', 'p1', 5)",
)
TASK = """
    INSERT INTO tasks (id, type, status, message, created_at, updated_at)
    VALUES ('t', 'import', 'success', '', :moment, :moment)
"""
TAKEOVER = "INSERT INTO image_takeovers VALUES ('old', 'a', 'b')"
TASK = """
    INSERT INTO tasks (id, type, status, message, created_at, updated_at)
    VALUES ('t', 'import', 'success', '', :moment, :moment)
"""
WRITTEN = {
    "0001": (IMAGE, *CHILDREN),
    "0002": (IMAGE, *CHILDREN, MANIFEST),
    "0003": (IMAGE, *CHILDREN, MANIFEST, *CHANGES),
    "0004": (IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER),
    "0005": (IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER),
    "0006": (IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB),
    "0007": (IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD),
    "0008": (IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
    "0009": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *RESERVED,
    ),
    "0010": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *(*RESERVED, TAKEOVER),
    ),
    "0011": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *(*RESERVED, TAKEOVER),
    ),
    "0012": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *(*RESERVED, TAKEOVER),
    ),
    "0013": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *(*RESERVED, TAKEOVER, TASK),
    ),
    "0014": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *(*RESERVED, TAKEOVER, TASK),
    ),
    "0015": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *(*RESERVED, TAKEOVER, TASK),
    ),
    "0016": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *(*RESERVED, TAKEOVER, TASK, BEGUN),
    ),
    "0017": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *(*RESERVED, TAKEOVER, TASK, BEGUN),
    ),
    "0018": (
        *(IMAGE, *CHILDREN, MANIFEST, *CHANGES, MEMBER, JOB, DISCARD, UPLOAD),
        *(*RESERVED, TAKEOVER, TASK, BEGUN),
    ),
}
MOMENT = datetime(2026, 1, 1, 12, 0, 0, 123456)  # noqa: DTZ001  # UTC without a zone


async def upgrade_to(database: Database, revision: str, patched: pytest.MonkeyPatch) -> None:
    """Do what `upgrade_schema` did when `revision` was the newest."""
    scripts: ScriptDirectory = await asyncio.to_thread(upgrading._scripts)
    found = list(scripts.iterate_revisions(revision, None))
    with patched.context() as patch:
        patch.setattr(scripts, "iterate_revisions", lambda *_: found)
        patch.setattr(upgrading, "_scripts", lambda: scripts)
        await upgrade_schema(database)


async def write(database: Database, statement: str) -> None:
    values = {"no": False, "moment": MOMENT}
    await run(database, statement, **{k: v for k, v in values.items() if f":{k}" in statement})


@pytest.mark.parametrize("revision", WRITTEN)
async def test_what_was_there_before_an_upgrade_stays(
    empty: Database, limits: Limits, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upgrade_to(empty, revision, monkeypatch)
    for statement in WRITTEN[revision]:
        await write(empty, statement)
    assert (await upgrade_schema(empty)).current == revision
    assert (await schema_state(empty)).is_newest
    image = await empty.query(get_image, "old")
    assert image is not None
    assert (image.size, image.name, image.created_at) == (5, "Grün", MOMENT)
    assert image.os_manifest == (None if revision == "0001" else "m")
    assert (image.tags, image.properties) == (("A", "a"), {"os_distro": "debian"})
    assert [place.url for place in image.locations] == ["file:///x"]
    query = parse_list_query([("os_distro", "debian")], limits)
    assert await empty.query(list_images, query, Identity(None, None, is_admin=False)) == [image]
    assert (await empty.change(save_image, image)).version == 1


async def test_the_release_before_goes_on_while_instances_are_replaced(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(WRITTEN)[-1]
    await upgrade_to(empty, before, monkeypatch)
    assert int((await upgrade_schema(empty)).newest) == int(before) + 1
    for statement in WRITTEN[before]:
        await write(empty, statement)
    assert await empty.query(get_image, "old") is not None


async def test_a_database_of_the_future_is_left_alone(database: Database) -> None:
    await run(database, "UPDATE registry_alembic_version SET version_num = '9999'")
    state = await schema_state(database)
    assert (state.is_newest, state.is_newer, state.fits) == (False, True, True)
    assert await upgrade_schema(database) == state
    await run(database, "UPDATE registry_oldest_program SET revision = '9998'")
    assert not (await schema_state(database)).fits
    await run(database, "DROP TABLE registry_oldest_program")
    assert not (await schema_state(database)).fits
    assert (await upgrade_schema(database)).current == "9999"
    assert (await schema_state(database)).current == "9999"


async def test_the_tables_of_others_are_left_alone(empty: Database) -> None:
    await run(empty, "CREATE TABLE image_tags (x INTEGER)")
    with pytest.raises(ConfigError, match="another program"):
        await upgrade_schema(empty)
    assert await tables(empty) == {"image_tags"}
    assert (await schema_state(empty)).current is None


def test_migrations_only_take_steps() -> None:
    """Which are done beside writers, and do nothing where they were done."""
    allowed = {
        "__future__",
        "secrets",
        "sqlalchemy",
        "registry.db.columns",
        "registry.db.migrating",
    }
    for file in Path(migrations.__path__[0]).glob("v*.py"):
        tree = ast.parse(file.read_text())
        from_others = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        whole = {
            name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert from_others | whole <= allowed, file.name


STEPS = (
    *("create_table", "add_column", "create_index", "create_text_index"),
    *("create_whole_text_index", "create_order_index", "fill"),
)


@pytest.mark.parametrize("broken", [0, 5, 12, 16, 21])
async def test_a_migration_that_was_broken_off_is_run_again(
    empty: Database, broken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers go on in the middle; SQLite begins anew, for nothing of it was left."""
    steps = 0

    def counted(step: Any) -> Any:
        def do(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            if steps == broken:
                raise RuntimeError("killed")
            steps += 1
            return step(*args, **kwargs)

        return do

    scripts = await asyncio.to_thread(upgrading._scripts)
    with monkeypatch.context() as patch:
        patch.setattr(upgrading, "_scripts", lambda: scripts)
        for script in scripts.iterate_revisions("head", None):
            for name in STEPS:
                if hasattr(script.module, name):
                    patch.setattr(script.module, name, counted(getattr(script.module, name)))
        with pytest.raises(RuntimeError, match="killed"):
            await upgrade_schema(empty)
    if empty.kind == "sqlite":
        assert await tables(empty) == set()
    await upgrade_schema(empty)
    assert (await schema_state(empty)).is_newest
    assert METADATA.tables.keys() <= await tables(empty)
    async with empty.read() as connection:
        count = sa.text("SELECT count(*) FROM change_feed")
        assert (await connection.execute(count)).scalar_one() == 1
    image = Image(id="new", created_at=MOMENT, updated_at=MOMENT)
    await empty.change(add_image, image)
    assert await empty.query(get_image, "new") == image


async def test_two_at_once_do_it_once(empty: Database) -> None:
    states = await asyncio.gather(upgrade_schema(empty), upgrade_schema(empty))
    assert sorted(state.current or "" for state in states) == ["", states[0].newest]
