"""How the databases find a page of 10,000 images: by an index, whatever the filters."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from harness.catalog_database import IN_EVERY_RUN, empty_database, server_of
from harness.databases import Server
from harness.plans import analyze, plans_of, scans_of
from registry.db.database import Database
from registry.db.listing import list_images
from registry.db.options import DatabaseSettings
from registry.db.quotas import get_usage
from registry.db.tables import image_properties, image_tags, images
from registry.db.upgrading import upgrade_schema
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.limits import Limits
from registry.domain.listing import parse_list_query

TABLES = ("images", "image_properties", "image_tags")
COUNT = 10_000
BATCH = 1_000
BEGIN = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
ADMIN = Identity("p0", "u", is_admin=True)
MINE = Identity("p7", "u", is_admin=False)
SORTED = re.compile("TEMP B-TREE FOR ORDER BY|Sort Key|filesort")  # the three ways to say it
MARKER = str(UUID(int=COUNT // 2 + 1))


@pytest.fixture(scope="module", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


def rows() -> tuple[list[dict[str, object]], list[dict[str, object]], list[dict[str, object]]]:
    pick = random.Random(1)
    records: list[dict[str, object]] = []
    properties: list[dict[str, object]] = []
    tags: list[dict[str, object]] = []
    for number in range(COUNT):
        image_id = str(UUID(int=number))
        moment = BEGIN + timedelta(seconds=number)
        records.append(
            {
                "id": image_id,
                "name": f"image {number % 500}",
                "status": "active",
                "visibility": pick.choice(["public", "private", "shared", "shared"]),
                "owner": f"p{number % 200}",
                "protected": False,
                "os_hidden": False,
                "min_disk": 0,
                "min_ram": 0,
                "size": number,
                "checksum": f"{number:032x}",
                "os_hash_value": f"{number:0128x}",
                "created_at": moment,
                "updated_at": moment,
                "deleted": number % 10 == 0,
            }
        )
        tags.append({"image_id": image_id, "value": f"t{number % 300}"})
        properties += (
            {"image_id": image_id, "name": f"key{key}", "value": f"value {number % (key * 99 + 1)}"}
            for key in range(5)
        )
        properties += (
            {"image_id": image_id, "name": f"common{rest}", "value": str(number % 3 != rest)}
            for rest in range(2)
        )
        if number % 7 == 0:
            properties.append({"image_id": image_id, "name": "some", "value": "v" * 100})
            tags.append({"image_id": image_id, "value": "seventh"})
    return records, properties, tags


@pytest.fixture
async def filled(server: Server | None, tmp_path: Path) -> AsyncIterator[Database]:
    async with empty_database(server, tmp_path) as url:
        database = await asyncio.to_thread(Database, DatabaseSettings(url))
        await upgrade_schema(database)
        tables = zip((images, image_properties, image_tags), rows(), strict=True)
        async with database.write() as connection:
            for table, values in tables:
                for start in range(0, len(values), BATCH):
                    await connection.execute(table.insert(), values[start : start + BATCH])
        await analyze(database, TABLES)
        yield database
        await database.aclose()


QUESTIONS: list[tuple[list[tuple[str, str]], Identity]] = [
    ([], EVERYBODY),
    ([], MINE),
    ([("marker", MARKER)], EVERYBODY),
    ([("marker", MARKER)], MINE),
    ([("sort", "updated_at:desc")], EVERYBODY),
    ([("sort", "name:asc")], EVERYBODY),
    ([("sort", "name:asc"), ("marker", MARKER)], MINE),
    ([("key4", "value 77")], EVERYBODY),
    ([("key0", "value 0")], MINE),
    ([("tag", "t7")], MINE),
    ([("name", "image 7")], EVERYBODY),
    ([("name", "in:image 7,nothing")], MINE),
    ([("checksum", f"{77:032x}")], MINE),
    ([("os_hash_value", f"{77:0128x}")], MINE),
    ([("owner", "p9")], EVERYBODY),
    ([("visibility", "community")], MINE),
    ([("visibility", "private")], MINE),
    ([("id", MARKER)], MINE),
]


async def test_no_list_reads_a_whole_table(filled: Database, limits: Limits) -> None:
    """One test for all questions, as filling takes longer than asking."""
    for pairs, identity in QUESTIONS:
        query = parse_list_query(pairs, limits)
        scans = await filled.query(scans_of, TABLES, list_images, query, identity)
        assert scans == [], (pairs, identity)
    # The tables of quotas are empty, and what is stored is looked up for each image.
    assert await filled.query(scans_of, TABLES, get_usage, "p7") == []


# Properties and tags of images, and which images have them: few, some or many, in every way to look.
TRAITS: list[tuple[list[tuple[str, str]], Callable[[int], bool]]] = [
    ([("common0", "True")], lambda n: n % 3 != 0),
    ([("common0", "True"), ("common1", "True")], lambda n: n % 3 == 2),
    ([("common0", "True"), ("some", "v" * 100)], lambda n: n % 21 in {7, 14}),
    ([("some", "v" * 99)], lambda _: False),
    ([("tag", "seventh"), ("common1", "True")], lambda n: n % 7 == 0 and n % 3 != 1),
    ([("tag", "seventh"), ("tag", "t7")], lambda n: n % 7 == 0 and n % 300 == 7),
    ([("key1", "value 7"), ("common0", "True")], lambda n: n % 100 == 7 and n % 3 != 0),
]


async def test_images_are_found_by_what_they_have(filled: Database, limits: Limits) -> None:
    for pairs, has in TRAITS:
        numbers = [n for n in range(COUNT) if has(n) and n % 10]
        for sort in (
            "created_at:asc",
            "size:asc",
        ):  # along an index, and not; sizes are in this order
            query = parse_list_query([*pairs, ("sort", sort), ("limit", "25")], limits)
            page = await filled.query(list_images, query, ADMIN)
            assert [UUID(image.id).int for image in page] == numbers[:25], (pairs, sort)


@pytest.mark.parametrize("identity", [EVERYBODY, MINE])
async def test_what_many_have_is_looked_up_along_the_order(
    filled: Database, limits: Limits, identity: Identity
) -> None:
    """An image after the other until the page is full, not all of them, which are then sorted."""
    query = parse_list_query([("common0", "True"), ("common1", "True")], limits)
    plans = await filled.query(plans_of, list_images, query, identity)
    (page,) = (lines for statement, lines in plans if "FROM images" in statement)
    assert [line for line in page if SORTED.search(line)] == []


@pytest.mark.parametrize("sort", ["name:asc", "name:desc"])
async def test_a_page_by_name_is_read_along_an_index(
    filled: Database, limits: Limits, sort: str
) -> None:
    """It is what `glance image-list` asks for, page by page."""
    middle = str(UUID(int=251))
    query = parse_list_query([("sort", sort), ("marker", middle), ("limit", "20")], limits)
    plans = await filled.query(plans_of, list_images, query, ADMIN)
    (page,) = (lines for statement, lines in plans if "ORDER BY" in statement)
    sorts = [line for line in page if SORTED.search(line)]
    assert bool(sorts) == (filled.kind == "mysql")  # which has no index of what is computed
