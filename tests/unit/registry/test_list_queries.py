"""Reading the query string of the image list."""

from __future__ import annotations

from datetime import datetime

import pytest

from registry.domain.errors import InvalidRequestError
from registry.domain.image import Visibility
from registry.domain.limits import Limits
from registry.domain.listing import Condition, ListQuery, SortKey, parse_list_query
from registry.domain.member import MemberStatus


def parse(limits: Limits, *pairs: tuple[str, str]) -> ListQuery:
    return parse_list_query(pairs, limits)


NOT_HIDDEN = Condition("os_hidden", "eq", value=False)
NOON = datetime(2026, 1, 2, 12)  # noqa: DTZ001  # UTC without a zone


def test_the_default_question(limits: Limits) -> None:
    assert parse(limits) == ListQuery(
        conditions=(NOT_HIDDEN,),
        properties=(),
        tags=(),
        visibility=None,
        member_status=MemberStatus.ACCEPTED,
        sort=(SortKey("created_at", descending=True), SortKey("id", descending=True)),
        limit=25,
        marker=None,
        parameters=(),
    )


@pytest.mark.parametrize(
    ("name", "value", "condition"),
    [
        ("name", "x", Condition("name", "eq", "x")),
        ("name", "a:b", Condition("name", "eq", "a:b")),
        ("name", "eq:x", Condition("name", "eq", "x")),
        ("name", 'in:a, b,"c,d"', Condition("name", "in", ("a", " b", "c,d"))),
        ("name", "in:", Condition("name", "in", ())),
        ("name", "in:,a,,b,", Condition("name", "in", ("", "a", "", "b"))),
        ("name", r'in:"a\"b",c', Condition("name", "in", (r"a\"b", "c"))),
        ("size", " +5 ", Condition("size", "eq", 5)),
        ("id", "in:1", Condition("id", "in", ("1",))),
        ("owner", "in:a", Condition("owner", "eq", "in:a")),
        ("checksum", "c", Condition("checksum", "eq", "c")),
        ("os_manifest", "m", Condition("os_manifest", "eq", "m")),
        ("size", "5", Condition("size", "eq", 5)),
        ("size_min", "5", Condition("size", "gte", 5)),
        ("min_ram_max", "5", Condition("min_ram", "lte", 5)),
        ("protected", "true", Condition("protected", "eq", value=True)),
        ("created_at", "2026-01-02T12:00:00Z", Condition("created_at", "eq", NOON)),
        ("created_at", "gt:2026-01-02T13:00:00+01:00", Condition("created_at", "gt", NOON)),
        ("updated_at", "lte:2026-01-02T13:00:00 01:00", Condition("updated_at", "lte", NOON)),
        ("updated_at", "neq:2026-01-02T12:00:00.9", Condition("updated_at", "neq", NOON)),
    ],
)
def test_filters_on_fields(limits: Limits, name: str, value: str, condition: Condition) -> None:
    assert parse(limits, (name, value)).conditions == (condition, NOT_HIDDEN)


def test_hidden_images_are_asked_for_in_any_case(limits: Limits) -> None:
    wanted = (Condition("os_hidden", "eq", value=True),)
    assert parse(limits, ("os_hidden", "True")).conditions == wanted


def test_anything_else_is_a_property(limits: Limits) -> None:
    query = parse(limits, ("os_distro", "x"), ("foo_min", "5"), ("tags", "y"), ("deleted", "true"))
    assert query.properties == (("os_distro", "x"), ("foo_min", "5"), ("tags", "y"))


def test_tags_are_repeated_and_the_last_of_the_rest_counts(limits: Limits) -> None:
    query = parse(limits, ("tag", "a"), ("tag", " b "), ("name", "x"), ("name", "y"))
    assert query.tags == ("a", "b")
    assert query.conditions[0] == Condition("name", "eq", "y")


def test_visibility(limits: Limits) -> None:
    assert parse(limits, ("visibility", "all")).visibility == "all"
    assert parse(limits, ("visibility", "public")).visibility is Visibility.PUBLIC
    assert Condition("visibility", "eq", "") in parse(limits, ("visibility", "")).conditions


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("sort", "name:asc,size")], ["name+", "size-", "created_at-", "id-"]),
        ([("sort_key", "name")], ["name-", "created_at-", "id-"]),
        ([("sort_dir", "asc")], ["created_at+", "id+"]),
        (
            [("sort_key", "name"), ("sort_key", "id"), ("sort_dir", "asc")],
            ["name+", "id+", "created_at+"],
        ),
        (
            [("sort_key", "size"), ("sort_dir", "asc"), ("sort_key", "name"), ("sort_dir", "desc")],
            ["size+", "name-", "created_at-", "id-"],
        ),
        ([("sort", "id:asc,id:desc")], ["id+", "created_at-"]),
    ],
)
def test_order(limits: Limits, pairs: list[tuple[str, str]], expected: list[str]) -> None:
    keys = parse(limits, *pairs).sort
    assert [f"{key.field}{'-' if key.descending else '+'}" for key in keys] == expected


@pytest.mark.parametrize(
    ("value", "limit"),
    [("0", 0), ("3", 3), (" +3", 3), ("1000", 1000), ("1001", 1000), ("9" * 40, 1000)],
)
def test_limit(limits: Limits, value: str, limit: int) -> None:
    assert parse(limits, ("limit", value)).limit == limit


def test_links_repeat_the_question_without_the_marker(limits: Limits) -> None:
    query = parse(limits, ("tag", "a"), ("marker", "m"), ("tag", "b"))
    assert (query.marker, query.parameters) == ("m", (("tag", "a"), ("tag", "b")))


@pytest.mark.parametrize(
    "pairs",
    [
        [("limit", "-1")],
        [("limit", "x")],
        [("limit", "")],
        [("sort_key", "owner")],
        [("sort_dir", "up")],
        [("sort", "name:up")],
        [("sort", "")],
        [("sort", "name"), ("sort_key", "name")],
        [("sort_dir", "asc"), ("sort_dir", "asc")],
        [("visibility", "secret")],
        [("member_status", "maybe")],
        [("changes-since", "2026-01-01T00:00:00Z")],
        [("protected", "yes")],
        [("os_hidden", "1")],
        [("size", "big")],
        [("size_min", "1.5")],
        [("size_max", "9" * 19)],
        [("created_at", "yesterday")],
        [("created_at", "gt:")],
        [("name", 'in:"a')],
        [("name", 'in:a"b"')],
        [("name", 'in:"a"b')],
        [("protected", "True")],
        [("name", "a\0")],
        [("a\0", "a")],
        [(f"p{n}", "x") for n in range(101)],
    ],
    ids=lambda pairs: str(pairs)[:40],
)
def test_refused(limits: Limits, pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequestError):
        parse(limits, *pairs)
