"""The list of images in SQL, against the same question answered over plain records."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from registry.db import traits
from registry.db.database import Database
from registry.db.images import add_image, delete_image
from registry.db.listing import list_images
from registry.domain.errors import InvalidRequestError
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.image import Image, Visibility
from registry.domain.limits import Limits
from registry.domain.listing import SORT_FIELDS, parse_list_query
from registry.domain.protection import Use
from registry.domain.status import Status

START = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's times are
MINE = Identity("p1", "u1", is_admin=False)


def some_images() -> list[Image]:
    """Return images with many equal and absent values, in no order."""
    pick = random.Random(20260101)
    return [
        Image(
            id=str(UUID(int=pick.getrandbits(128))),
            created_at=START + timedelta(milliseconds=pick.randrange(4) * 700),
            updated_at=START + timedelta(seconds=pick.randrange(4)),
            name=pick.choice([None, "", "a", "b", "a,b"]),
            status=pick.choice([Status.QUEUED, Status.ACTIVE, Status.KILLED]),
            visibility=pick.choice(list(Visibility)),
            owner=pick.choice([None, "p1", "p2"]),
            protected=pick.random() < 0.5,
            os_hidden=pick.random() < 0.2,
            container_format=pick.choice([None, "bare", "ovf"]),
            disk_format=pick.choice([None, "raw", "qcow2"]),
            size=pick.choice([None, 0, 1, 5]),
            min_ram=pick.randrange(3),
            tags=tuple(sorted(pick.sample(["x", "y", "z"], pick.randrange(4)))),
            properties=dict.fromkeys(pick.sample(["k", "l"], pick.randrange(3)), "v"),
        )
        for _ in range(60)
    ]


IMAGES = some_images()


@pytest.fixture
async def filled(database: Database) -> Database:
    async with database.write() as connection:
        for image in IMAGES:
            await add_image(connection, image)
    return database


class Lister:
    def __init__(self, database: Database, limits: Limits) -> None:
        self.database = database
        self.limits = limits

    async def __call__(
        self, *pairs: tuple[str, str], identity: Identity = EVERYBODY
    ) -> list[Image]:
        query = parse_list_query(pairs, self.limits)
        async with self.database.read() as connection:
            return await list_images(connection, query, identity)


@pytest.fixture
def ask(filled: Database, limits: Limits) -> Lister:
    return Lister(filled, limits)


def listed(image: Image) -> bool:
    return image.status is not Status.KILLED and not image.os_hidden


def by_default(image: Image) -> bool:
    return listed(image) and image.visibility is not Visibility.COMMUNITY


ALL = [("limit", "1000"), ("visibility", "all")]


@pytest.mark.parametrize(("few", "some"), [(0, 0), (0, 500), (30, 0), (500, 500)])
@pytest.mark.parametrize(
    ("pairs", "fits"),
    [
        ([], lambda _: True),
        ([("name", "a")], lambda image: image.name == "a"),
        ([("name", 'in:"a,b",b')], lambda image: image.name in {"a,b", "b"}),
        ([("status", "in:active,saving")], lambda image: image.status == "active"),
        ([("size", "0")], lambda image: image.size == 0),
        ([("size_min", "1")], lambda image: image.size is not None and image.size >= 1),
        ([("size_max", "1")], lambda image: image.size is not None and image.size <= 1),
        (
            [("owner", "p1"), ("disk_format", "raw")],
            lambda i: (i.owner, i.disk_format) == ("p1", "raw"),
        ),
        ([("protected", "true")], lambda image: image.protected),
        ([("tag", "x"), ("tag", "y")], lambda image: {"x", "y"} <= set(image.tags)),
        ([("k", "v"), ("l", "v")], lambda image: len(image.properties) == 2),
        ([("k", "other")], lambda _: False),
        # 700 and 1400 ms are shown as the seconds 0 and 1
        ([("created_at", "eq:2026-01-01T00:00:01Z")], lambda i: i.created_at.second == 1),
        ([("created_at", "neq:2026-01-01T00:00:01Z")], lambda i: i.created_at.second != 1),
        ([("created_at", "gt:2026-01-01T00:00:00Z")], lambda i: i.created_at.second > 0),
        ([("created_at", "gte:2026-01-01T00:00:01Z")], lambda i: i.created_at.second >= 1),
        ([("created_at", "lt:2026-01-01T00:00:01Z")], lambda i: i.created_at.second < 1),
        ([("created_at", "lte:2026-01-01T00:00:01Z")], lambda i: i.created_at.second <= 1),
        ([("updated_at", "lte:9999-12-31T23:59:59Z")], lambda _: True),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
async def test_filters(
    ask: Lister,
    pairs: list[tuple[str, str]],
    fits: Any,
    few: int,
    some: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where few images have a property or tag, or some, or many."""
    monkeypatch.setattr(traits, "FEW", few)
    monkeypatch.setattr(traits, "SOME", some)
    found = await ask(*ALL, *pairs)
    assert {image.id for image in found} == {i.id for i in IMAGES if listed(i) and fits(i)}


async def test_hidden_images(ask: Lister) -> None:
    found = await ask(*ALL, ("os_hidden", "true"))
    assert {i.id for i in found} == {i.id for i in IMAGES if i.os_hidden and i.status != "killed"}


@pytest.mark.parametrize(
    ("visibility", "fits"),
    [
        ("", lambda i: i.owner == "p1" or i.visibility == "public"),
        ("all", lambda i: i.owner == "p1" or i.visibility in {"public", "community"}),
        ("community", lambda i: i.visibility == "community"),
        ("public", lambda i: i.visibility == "public"),
        ("private", lambda i: i.visibility == "private" and i.owner == "p1"),
        ("shared", lambda i: i.visibility == "shared" and i.owner == "p1"),
    ],
)
async def test_what_a_project_sees(ask: Lister, visibility: str, fits: Any) -> None:
    asked = [("visibility", visibility)] if visibility else []
    found = await ask(("limit", "1000"), *asked, identity=MINE)
    assert {image.id for image in found} == {i.id for i in IMAGES if listed(i) and fits(i)}


async def test_an_empty_visibility_is_no_image_s(ask: Lister) -> None:
    assert await ask(("visibility", "")) == []


async def test_an_administrator_sees_the_community_only_when_asking(ask: Lister) -> None:
    assert {i.id for i in await ask(("limit", "1000"))} == {i.id for i in IMAGES if by_default(i)}


async def test_records_come_back_whole(ask: Lister) -> None:
    expected = {image.id: image for image in IMAGES}
    for image in await ask(*ALL):
        assert image == expected[image.id]


@pytest.mark.parametrize("field", SORT_FIELDS)
@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_pages_join_to_the_whole_in_order(ask: Lister, field: str, direction: str) -> None:
    downwards = direction == "desc"
    rest = sorted(
        (i for i in IMAGES if listed(i)), key=lambda i: (i.created_at, i.id), reverse=downwards
    )
    lowest = "" if field != "size" else -1
    expected = sorted(
        rest,
        key=lambda i: lowest if (value := getattr(i, field)) is None else value,
        reverse=downwards,
    )
    pages: list[Image] = []
    question = [*ALL[1:], ("limit", "7"), ("sort", f"{field}:{direction}")]
    while page := await ask(*question, *([("marker", pages[-1].id)] if pages else [])):
        pages += page
    assert [image.id for image in pages] == [image.id for image in expected]


async def test_an_unknown_marker(ask: Lister) -> None:
    with pytest.raises(InvalidRequestError, match="marker"):
        await ask(("marker", "00000000-0000-0000-0000-000000000000"))


async def test_a_marker_that_is_deleted_since(ask: Lister, filled: Database) -> None:
    mine = [image for image in await ask(*ALL, identity=MINE) if image.status == "queued"]
    expected = [image.id for image in await ask(*ALL, ("marker", mine[0].id))]
    async with filled.write() as connection:
        await delete_image(connection, mine[0], START)
    found = await ask(*ALL, ("marker", mine[0].id))
    assert [image.id for image in found] == expected
    with pytest.raises(InvalidRequestError, match="marker"):
        await ask(*ALL, ("marker", mine[0].id), identity=MINE)


async def test_a_page_of_none(ask: Lister) -> None:
    assert await ask(("limit", "0")) == []


class Hides:
    """Hides one property from everybody."""

    def __init__(self, name: str) -> None:
        self.name = name

    def allow(self, use: Use, name: str, identity: Identity) -> bool:
        del use, identity
        return name != self.name


async def test_what_a_caller_may_not_read_is_not_found_by_its_value(ask: Lister) -> None:
    held = replace(EVERYBODY, protections=Hides("k"))
    assert await ask(("k", "v"))
    assert await ask(("k", "v"), identity=held) == []
    assert await ask(("l", "v"), ("k", "v"), identity=held) == []
    assert await ask(("l", "v"), identity=held) == await ask(("l", "v"))
    with pytest.raises(InvalidRequestError, match="Invalid marker"):
        await ask(("k", "v"), ("marker", "none"), identity=held)


def test_a_second_limit_names_a_custom_property(limits: Limits) -> None:
    query = parse_list_query([("limit", "0"), ("limit", "-1")], limits)
    assert (query.limit, query.properties) == (0, (("limit", "-1"),))
