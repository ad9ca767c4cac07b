"""Metadata definitions: who sees and changes them, what is made of what is said, what is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from registry.db.database import Database
from registry.domain.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RegistryError,
)
from registry.domain.identity import Identity
from registry.domain.limits import Limits
from registry.domain.metadefs.kinds import KINDS, OBJECT, PROPERTY, RESOURCE_TYPE, TAG, Kind
from registry.domain.metadefs.properties import read_definition, shown_definition
from registry.domain.metadefs.records import ItemPath
from registry.domain.notices import Payload, Priority
from registry.service.metadef_items import MetadefItems
from registry.service.metadefs import Metadefs

ADMIN = Identity("p0", "u0", is_admin=True)
OWNER = Identity("p1", "u1", is_admin=False)
STRANGER = Identity("p2", "u2", is_admin=False)
TEXT = {"title": "T", "type": "string"}
WHOLE: dict[str, Any] = {
    "namespace": "OS::One",
    "display_name": "One",
    "description": "about",
    "visibility": "public",
    "owner": "p1",
    "resource_type_associations": [{"name": "OS::Nova::Flavor", "prefix": "hw:"}],
    "objects": [{"name": "o", "required": ["p"], "properties": {"p": TEXT}}],
    "tags": [{"name": "t"}],
    "properties": {"q": {**TEXT, "default": 5, "minimum": 1.5}},
}
NEW: dict[Kind, dict[str, Any]] = {
    OBJECT: {"name": "n"},
    PROPERTY: {"name": "n", **TEXT},
    TAG: {"name": "n"},
    RESOURCE_TYPE: {"name": "n"},
}


class Told:
    """Keeps what was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def emit(self, event: str, payload: Payload, priority: Priority = "info") -> None:
        assert priority == "info"
        self.events.append((event, payload))

    def taken(self) -> list[tuple[str, Any]]:
        """Return what was told since the last time."""
        found, self.events = self.events, []
        return found


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def metadefs(database: Database, limits: Limits, clock: Any, told: Told) -> Metadefs:
    return Metadefs(database, limits, clock, told)


@pytest.fixture
def items(database: Database, clock: Any, told: Told) -> MetadefItems:
    return MetadefItems(database, clock, told)


async def names(metadefs: Metadefs, identity: Identity, *query: tuple[str, str]) -> Sequence[str]:
    page = await metadefs.list(identity, query)
    return [each["namespace"] for each in page["namespaces"]]


async def make(metadefs: Metadefs, *made: str, **fields: Any) -> None:
    for name in made:
        await metadefs.create(ADMIN, {"namespace": name, **fields})


async def test_a_namespace_with_all_that_it_has(metadefs: Metadefs) -> None:
    made = await metadefs.create(ADMIN, WHOLE)
    shown = {
        **WHOLE,
        "protected": False,
        "created_at": "2026-01-01T00:00:01Z",
        "updated_at": "2026-01-01T00:00:02Z",
        "self": "/v2/metadefs/namespaces/OS::One",
        "schema": "/v2/schemas/metadefs/namespace",
        "properties": {"q": {**TEXT, "default": "5", "minimum": 1}},
    }
    assert made == shown
    found = await metadefs.show(OWNER, "OS::One", ())
    times = {"created_at": "2026-01-01T00:00:01Z", "updated_at": "2026-01-01T00:00:01Z"}
    links = {
        "self": "/v2/metadefs/namespaces/OS::One/objects/o",
        "schema": "/v2/schemas/metadefs/object",
    }
    assert found == {
        **shown,
        "objects": [{**WHOLE["objects"][0], **times, **links}],
        "resource_type_associations": [{**WHOLE["resource_type_associations"][0], **times}],
    }
    prefixed = await metadefs.show(OWNER, "OS::One", [("resource_type", "OS::Nova::Flavor")])
    assert list(prefixed["properties"]) == ["hw:q"]
    assert prefixed["objects"][0]["required"] == ["hw:p"]
    assert list(prefixed["objects"][0]["properties"]) == ["hw:p"]
    assert await metadefs.show(OWNER, "OS::One", [("resource_type", "other")]) == found


async def test_all_of_a_namespace_is_made_or_nothing(metadefs: Metadefs) -> None:
    twice = {"namespace": "n", "tags": [{"name": "t"}, {"name": "t"}]}
    with pytest.raises(ConflictError):
        await metadefs.create(ADMIN, twice)
    assert await names(metadefs, ADMIN) == []
    await make(metadefs, "n")
    with pytest.raises(ConflictError):
        await metadefs.create(ADMIN, {"namespace": "n"})


async def test_who_sees_which_namespaces(metadefs: Metadefs) -> None:
    await make(metadefs, "open", visibility="public", owner="p1")
    await make(metadefs, "own", owner="p1")
    assert await names(metadefs, ADMIN) == ["own", "open"]
    assert await names(metadefs, OWNER) == ["own", "open"]
    assert await names(metadefs, STRANGER) == ["open"]
    assert await names(metadefs, Identity(None, None, is_admin=False)) == ["open"]
    assert (await metadefs.show(OWNER, "own", ()))["visibility"] == "private"
    for work in (
        metadefs.show(STRANGER, "own", ()),
        metadefs.update(STRANGER, "own", {"namespace": "own"}),
        metadefs.delete(STRANGER, "own"),
        metadefs.list(STRANGER, [("marker", "own")]),
        metadefs.show(STRANGER, "ab\0sent", ()),
    ):
        with pytest.raises(NotFoundError):
            await work


async def test_who_may_not_change_anything(metadefs: Metadefs, items: MetadefItems) -> None:
    await metadefs.create(ADMIN, WHOLE)
    before = await metadefs.show(ADMIN, "OS::One", ())
    calls = [
        metadefs.create(OWNER, {"namespace": "mine"}),
        metadefs.update(OWNER, "OS::One", {"namespace": "mine"}),
        metadefs.delete(OWNER, "OS::One"),
        items.add_tag(OWNER, "OS::One", "n"),
        items.add_tags(OWNER, "OS::One", {"tags": []}, append=False),
        *(items.add(OWNER, kind, "OS::One", NEW[kind]) for kind in KINDS),
        *(items.clear(OWNER, kind, "OS::One") for kind in KINDS),
        *(items.remove(OWNER, ItemPath(kind, "OS::One", "absent")) for kind in KINDS),
    ]
    for call in calls:
        with pytest.raises(ForbiddenError):
            await call
    assert await metadefs.show(ADMIN, "OS::One", ()) == before
    assert await names(metadefs, ADMIN) == ["OS::One"]


async def test_a_protected_namespace_loses_nothing(metadefs: Metadefs, items: MetadefItems) -> None:
    await metadefs.create(ADMIN, {**WHOLE, "protected": True})
    has = {OBJECT: "o", PROPERTY: "q", TAG: "t", RESOURCE_TYPE: "OS::Nova::Flavor"}
    before = await metadefs.show(ADMIN, "OS::One", ())
    for call in (
        metadefs.delete(ADMIN, "OS::One"),
        *(items.remove(ADMIN, ItemPath(kind, "OS::One", has[kind])) for kind in KINDS),
        *(items.clear(ADMIN, kind, "OS::One") for kind in KINDS),
    ):
        with pytest.raises(ForbiddenError, match="protected"):
            await call
    assert await metadefs.show(ADMIN, "OS::One", ()) == before


async def test_pages(metadefs: Metadefs) -> None:
    await make(metadefs, "a", "b", "c")
    first = await metadefs.list(ADMIN, [("limit", "2"), ("sort_key", "namespace")])
    assert [each["namespace"] for each in first["namespaces"]] == ["c", "b"]
    assert first["first"] == "/v2/metadefs/namespaces?limit=2&sort_key=namespace"
    assert first["next"] == f"{first['first']}&marker=b"
    query = [("sort_key", "namespace"), ("marker", "b")]
    assert await names(metadefs, ADMIN, *query) == ["a"]
    assert await names(metadefs, ADMIN, *query, ("sort_dir", "asc")) == ["c"]
    for key in ("created_at", "updated_at", "protected", "display_name", "id"):
        assert await names(metadefs, ADMIN, ("sort_key", key), ("marker", "b")) == ["a"], key


async def test_filters(metadefs: Metadefs) -> None:
    await metadefs.create(ADMIN, WHOLE)
    await make(metadefs, "bare")
    assert await names(metadefs, ADMIN, ("visibility", "private")) == ["bare"]
    assert await names(metadefs, ADMIN, ("resource_types", "x,OS::Nova::Flavor")) == ["OS::One"]
    assert await names(metadefs, ADMIN, ("resource_types", "x")) == []
    types = await metadefs.resource_types(OWNER)
    assert [each["name"] for each in types["resource_types"]] == ["OS::Nova::Flavor"]


@pytest.mark.parametrize(
    "query",
    [
        ("limit", "x"),
        ("limit", "-1"),
        ("sort_key", "absent"),
        ("sort_dir", "up"),
        ("visibility", "shared"),
        ("resource_types", ",".join(map(str, range(101)))),
        ("unknown", "\0"),
    ],
)
async def test_a_list_that_makes_no_sense(metadefs: Metadefs, query: tuple[str, str]) -> None:
    with pytest.raises(InvalidRequestError):
        await metadefs.list(ADMIN, [query])


async def test_a_namespace_is_replaced(metadefs: Metadefs, told: Told) -> None:
    await metadefs.create(ADMIN, WHOLE)
    await make(metadefs, "other")
    with pytest.raises(ConflictError):
        await metadefs.update(ADMIN, "OS::One", {"namespace": "other"})
    told.taken()
    changed = await metadefs.update(ADMIN, "OS::One", {"namespace": "new"})
    assert (changed["owner"], changed["visibility"]) == ("p0", "private")
    assert "description" not in changed
    ((event, notice),) = told.taken()
    assert (event, notice["namespace"], notice["namespace_old"]) == (
        "metadef_namespace.update",
        "new",
        "OS::One",
    )
    found = await metadefs.show(ADMIN, "new", ())
    assert list(found["properties"]) == ["q"]
    with pytest.raises(NotFoundError):
        await metadefs.show(ADMIN, "OS::One", ())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
async def test_an_item_from_its_making_to_its_end(
    metadefs: Metadefs, items: MetadefItems, told: Told, kind: Kind
) -> None:
    await make(metadefs, "n")
    path = ItemPath(kind, "n", "n")
    told.taken()
    made = await items.add(ADMIN, kind, "n", NEW[kind])
    assert made["name"] == "n"
    with pytest.raises(ConflictError):
        await items.add(ADMIN, kind, "n", NEW[kind])
    if kind is not RESOURCE_TYPE:
        other = {**NEW[kind], "name": "m"}
        assert (await items.replace(ADMIN, path, other))["name"] == "m"
        with pytest.raises(NotFoundError):
            await items.replace(ADMIN, path, other)
        path = ItemPath(kind, "n", "m")
        assert (await items.show(ADMIN, path, ()))["name"] == "m"
    assert repr(path.name) in str(await items.list(ADMIN, kind, "n", ()))
    await items.remove(ADMIN, path)
    with pytest.raises(NotFoundError):
        await items.remove(ADMIN, path)
    assert repr(path.name) not in str(await items.list(ADMIN, kind, "n", ()))
    events = [(event, notice["name"], notice["deleted"]) for event, notice in told.taken()]
    of = f"metadef_{kind.name}"
    changed = [] if kind is RESOURCE_TYPE else [(f"{of}.update", "m", False)]
    assert events == [
        (f"{of}.create", "n", False),
        *changed,
        (f"{of}.delete", path.name, True),
    ]


async def test_tags_at_once(metadefs: Metadefs, items: MetadefItems) -> None:
    async def tags(*query: tuple[str, str]) -> list[str]:
        return [each["name"] for each in (await items.list(ADMIN, TAG, "n", query))["tags"]]

    def of(*wanted: str) -> dict[str, Any]:
        return {"tags": [{"name": name} for name in wanted]}

    await make(metadefs, "n")
    assert await items.add_tags(ADMIN, "n", of("a", "b"), append=False) == of("a", "b")
    await items.add_tags(ADMIN, "n", of("c"), append=True)
    assert await tags() == ["c", "b", "a"]
    assert await tags(("sort_key", "name"), ("sort_dir", "asc"), ("limit", "2")) == ["a", "b"]
    assert await tags(("marker", "b")) == ["a"]
    with pytest.raises(ConflictError):
        await items.add_tags(ADMIN, "n", of("d", "a"), append=True)
    assert await tags() == ["c", "b", "a"]
    await items.add_tags(ADMIN, "n", of(), append=False)
    assert await tags() == ["c", "b", "a"]
    await items.add_tags(ADMIN, "n", of("b", "d"), append=False)
    assert await tags(("sort_key", "name")) == ["d", "b"]


async def test_a_property_by_the_name_for_a_resource_type(
    metadefs: Metadefs, items: MetadefItems
) -> None:
    await metadefs.create(ADMIN, WHOLE)

    async def show(name: str, resource_type: str) -> Any:
        path = ItemPath(PROPERTY, "OS::One", name)
        return await items.show(ADMIN, path, [("resource_type", resource_type)])

    assert (await show("hw:q", "OS::Nova::Flavor"))["name"] == "q"
    for name, resource_type in (("q", "OS::Nova::Flavor"), ("hw:q", "other")):
        with pytest.raises(NotFoundError):
            await show(name, resource_type)


async def test_what_is_told_of_a_new_namespace(metadefs: Metadefs, told: Told) -> None:
    await metadefs.create(ADMIN, WHOLE)
    events = dict(told.taken())
    assert list(events) == [
        "metadef_namespace.create",
        "metadef_resource_type.create",
        "metadef_object.create",
        "metadef_tag.create",
        "metadef_property.create",
    ]
    assert events["metadef_resource_type.create"]["prefix"] == "hw:"
    described = events["metadef_object.create"]
    assert (described["required"], described["description"]) == (["p"], None)
    assert described["properties"][0]["title"] == "T"
    assert events["metadef_property.create"]["default"] == "5"
    await metadefs.delete(ADMIN, "OS::One")
    ((event, notice),) = told.taken()
    assert (event, notice["deleted"]) == ("metadef_namespace.delete", True)
    assert notice["deleted_at"] is not None


async def test_two_who_make_the_same(metadefs: Metadefs, items: MetadefItems) -> None:
    await make(metadefs, "n", "m")
    for calls in (
        [metadefs.create(ADMIN, {"namespace": "new"}) for _ in range(2)],
        [items.add(ADMIN, OBJECT, "n", {"name": "o"}) for _ in range(2)],
    ):
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(each, ConflictError) for each in ended) == 1
    # Of two who meet a resource type first, both have it.
    await asyncio.gather(
        *(items.add(ADMIN, RESOURCE_TYPE, name, {"name": "r"}) for name in ("n", "m"))
    )


async def test_who_adds_to_a_namespace_that_is_deleted(
    metadefs: Metadefs, items: MetadefItems
) -> None:
    await make(metadefs, "n")
    calls = [items.add(ADMIN, TAG, "n", {"name": str(number)}) for number in range(5)]
    ended = await asyncio.gather(*calls, metadefs.delete(ADMIN, "n"), return_exceptions=True)
    assert all(isinstance(each, dict | NotFoundError | None) for each in ended), ended
    assert await names(metadefs, ADMIN) == []


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"namespace": "n", "self": "x"}, ForbiddenError),
        ({"namespace": "n", "objects": [{}]}, InvalidRequestError),
        ({"namespace": "n", "tags": [{"name": "t", "x": 1}]}, InvalidRequestError),
        ({"namespace": "n", "tags": [{"name": "t" * 81}]}, InvalidRequestError),
        ({"namespace": "n", "properties": {"p" * 81: TEXT}}, InvalidRequestError),
        ({"namespace": "n", "properties": {"p": {**TEXT, "x": 1}}}, InvalidRequestError),
        ({"namespace": "n", "properties": {"p": {**TEXT, "enum": [1]}}}, InvalidRequestError),
        ({"namespace": "n\0"}, InvalidRequestError),
        ({"namespace": "n" * 81}, InvalidRequestError),
        ({}, InvalidRequestError),
        ([], InvalidRequestError),
        (["self"], InvalidRequestError),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_namespace_that_makes_no_sense(
    metadefs: Metadefs, given: Any, error: type[RegistryError]
) -> None:
    with pytest.raises(error):
        await metadefs.create(ADMIN, given)
    assert await names(metadefs, ADMIN) == []


def test_definitions() -> None:
    given = {
        **TEXT,
        "default": True,
        "maximum": 5.9,
        "enum": ["a"],
        "items": {"type": "string", "enum": ["b"]},
        "readonly": False,
    }
    read = read_definition(given)
    assert read == {**given, "default": "True", "maximum": 5}
    assert shown_definition(read) == read
    assert read_definition({**TEXT, "default": []})["default"] is None
    # What an operator's file says is shown, whatever it is.
    odd = {"type": "string", "minimum": "x", "more": 1, "default": 5}
    assert shown_definition(odd) == {**odd, "default": "5"}


@pytest.mark.parametrize(
    "more",
    [
        {"type": None},
        {"title": 1},
        {"operators": "x"},
        {"readonly": "x"},
        {"minimum": "1"},
        {"minimum": True},
        {"maximum": float("inf")},
        {"default": "ü"},
        {"items": {}},
        {"items": {"type": "string", "x": 1}},
        {"required": ["a"]},
    ],
    ids=str,
)
def test_definitions_that_make_no_sense(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        read_definition({**TEXT, **more})
    with pytest.raises(InvalidRequestError):
        read_definition("x")
