"""What a client asks of the list of images: filters, order and page, read from the query string.

Any field filters by equality; some by operators.  Any other parameter is a custom property.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal, TypeAlias

from registry.domain.errors import InvalidRequestError
from registry.domain.image import Visibility
from registry.domain.limits import FILTERS_MAX, Limits
from registry.domain.member import MemberStatus
from registry.domain.validation import check_text

Operator: TypeAlias = Literal["eq", "neq", "gt", "gte", "lt", "lte", "in"]
Scalar: TypeAlias = str | int | bool | datetime

SORT_FIELDS = (
    *("name", "status", "container_format", "disk_format", "size", "id", "created_at"),
    "updated_at",
)
_IN_FIELDS = frozenset({"name", "id", "status", "container_format", "disk_format"})
_TEXT_FIELDS = _IN_FIELDS | {
    *("owner", "checksum", "os_hash_algo", "os_hash_value", "os_manifest"),
}
_NUMBER_FIELDS = frozenset({"size", "virtual_size", "min_disk", "min_ram"})
_TRUTH_FIELDS = frozenset({"protected", "os_hidden"})
_TIME_FIELDS = frozenset({"created_at", "updated_at"})
_COMPARISONS: tuple[Operator, ...] = ("eq", "neq", "gt", "gte", "lt", "lte")
# No filters; `deleted` was one.
_OTHERS = frozenset(
    {
        *("limit", "marker", "member_status", "sort", "sort_key", "sort_dir", "tag", "visibility"),
        *("changes-since", "deleted"),
    }
)
_FIRST = ("limit", "marker", "member_status")
# The end of this second must still be a time.
_LAST_SECOND = datetime(9999, 12, 31, 23, 59, 58)  # noqa: DTZ001  # UTC without a zone, as all are
# In quotes, or up to a comma, or nothing before one.
_LIST_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)",?|([^,]+),?|,', re.DOTALL)
# Year, month, day and a time of the day, in either of ISO 8601's spellings; what is behind may be missing.
_TIME = re.compile(
    r"([0-9]{4})"
    r"(?:(-[0-9]{1,2}|[0-9]{2}(?!$))"
    r"(?:(-[0-9]{1,2}|[0-9]{2})"
    r"(?:[ T]([0-9]{2})(?::?([0-9]{2}))?(?::?([0-9]{1,2})(?:[.,][0-9]+)?)?"
    r"(?:Z|([+-])([0-9]{2}):?([0-9]{2})?)?)?)?)?"
)
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,19}\s*")
_NUMBER_MAX = (1 << 63) - 1  # sizes are 64-bit columns


@dataclass(frozen=True, slots=True)
class Condition:
    """`field operator value`; the value of "in" is a tuple, times are UTC in whole seconds."""

    field: str
    operator: Operator
    value: Scalar | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One field to order by."""

    field: str
    descending: bool


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A whole question.  `visibility` None is the caller's default view, "all" is everything.

    `member_status` is what the caller must have answered to be shown what others share with it.
    """

    conditions: tuple[Condition, ...]
    properties: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    visibility: Visibility | Literal["all"] | None
    member_status: MemberStatus | Literal["all"]
    sort: tuple[SortKey, ...]
    limit: int
    marker: str | None
    parameters: tuple[tuple[str, str], ...]  # as sent, without the marker: for the page's links


def parse_list_query(parameters: Sequence[tuple[str, str]], limits: Limits) -> ListQuery:
    """Read a query string's pairs.

    Where only one can count it is the last, but the first limit, marker and member_status: as in
    Glance, to which a second one of these names a custom property.
    """
    if len(parameters) > FILTERS_MAX:
        raise InvalidRequestError(f"More than {FILTERS_MAX} parameters.")
    check_text([part for pair in parameters for part in pair])
    last, first = dict(parameters), dict(reversed(parameters))
    if last.get("changes-since"):
        raise InvalidRequestError('The "changes-since" filter is no longer available on v2.')
    conditions: list[Condition] = []
    names = [name for name, _ in parameters]
    properties = [(name, last[name]) for name in _FIRST if names.count(name) > 1]
    for name, value in last.items():
        if name in _OTHERS:
            continue
        condition = _parse_condition(name, value)
        if condition is None:
            properties.append((name, value))
        else:
            conditions.append(condition)
    if last.get("visibility") == "":
        conditions.append(Condition("visibility", "eq", ""))  # no image has that one
    if "os_hidden" not in last:
        conditions.append(Condition("os_hidden", "eq", value=False))
    return ListQuery(
        conditions=tuple(conditions),
        properties=tuple(properties),
        tags=tuple(value.strip() for name, value in parameters if name == "tag"),
        visibility=_parse_visibility(last.get("visibility")),
        member_status=_parse_member_status(first.get("member_status", MemberStatus.ACCEPTED)),
        sort=_parse_sort(parameters),
        limit=parse_limit(first.get("limit"), limits),
        marker=first.get("marker"),
        parameters=tuple(pair for pair in parameters if pair[0] != "marker"),
    )


def _parse_condition(name: str, value: str) -> Condition | None:
    """Read a filter on a field; None if `name` is no field, so a custom property."""
    if name in _TEXT_FIELDS:
        return _parse_text(name, value)
    if name in _NUMBER_FIELDS:
        return Condition(name, "eq", _parse_number(name, value))
    if name in _TRUTH_FIELDS:
        return Condition(name, "eq", _parse_truth(name, value))
    if name in _TIME_FIELDS:
        operator, text = _split_operator(value, _COMPARISONS)
        return Condition(name, operator, _parse_time(name, text))
    field, _, bound = name.rpartition("_")
    if field in _NUMBER_FIELDS and bound in {"min", "max"}:
        return Condition(field, "gte" if bound == "min" else "lte", _parse_number(name, value))
    return None


def _parse_text(name: str, value: str) -> Condition:
    if name not in _IN_FIELDS:
        return Condition(name, "eq", value)
    operator, text = _split_operator(value, ("in", "eq"))
    return Condition(name, operator, _split_list(text) if operator == "in" else text)


def _split_operator(value: str, known: tuple[Operator, ...]) -> tuple[Operator, str]:
    """Split `operator:value`; whatever does not begin with a known operator is all value."""
    for operator in known:
        if value.startswith(f"{operator}:"):
            return operator, value[len(operator) + 1 :]
    return "eq", value


def _split_list(text: str) -> tuple[str, ...]:
    """Split at commas; double quotes protect them, and a backslash a quote (and stays)."""
    opening = True
    for position, character in enumerate(text):
        if character != '"' or text[:position].endswith("\\"):
            continue
        beside = text[:position][-1:] if opening else text[position + 1 :][:1]
        if beside not in {"", ","}:
            where = "before opening" if opening else "after closing"
            raise InvalidRequestError(
                f"Invalid filter value {text}. There is no comma {where} quotation mark."
            )
        opening = not opening
    if not opening:
        raise InvalidRequestError(f"Invalid filter value {text}. The quote is not closed.")
    return tuple(found[1] or found[2] or "" for found in _LIST_ITEM.finditer(text))


def _parse_number(name: str, value: str) -> int:
    if not _NUMBER.fullmatch(value) or abs(int(value)) > _NUMBER_MAX:
        raise InvalidRequestError(f"The filter '{name}' must be an integer.")
    return int(value)


def _parse_truth(name: str, value: str) -> bool:
    """Read a truth; that of os_hidden may have capitals."""
    text = value.lower() if name == "os_hidden" else value
    if text not in {"true", "false"}:
        raise InvalidRequestError(
            f"Invalid value '{value}' for '{name}' filter. Valid values are 'true' or 'false'."
        )
    return text == "true"


def _parse_time(name: str, text: str) -> datetime:
    if "T" in text:
        text = text.replace(" ", "+")  # the "+" of a zone that was not escaped
    refusal = InvalidRequestError(f"The filter '{name}' must be an ISO 8601 time.")
    told = _TIME.fullmatch(text)
    if told is None:
        raise refusal
    year, month, day, hour, minute, second, sign, zone_hours, zone_minutes = told.groups()
    try:
        moment = datetime(  # noqa: DTZ001  # of the zone that is taken away
            int(year),
            int((month or "1").lstrip("-")),
            int((day or "1").lstrip("-")),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
        )
        ahead = timezone(timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0)))
        offset = ahead.utcoffset(None)
        utc = moment + offset if sign == "-" else moment - offset
    except (ValueError, OverflowError):
        raise refusal from None
    return min(utc, _LAST_SECOND)


def _parse_visibility(value: str | None) -> Visibility | Literal["all"] | None:
    if not value:
        return None
    if value == "all":
        return "all"
    try:
        return Visibility(value)
    except ValueError:
        raise InvalidRequestError(f"Invalid visibility value: {value}") from None


def _parse_member_status(value: str) -> MemberStatus | Literal["all"]:
    if value == "all":
        return "all"
    try:
        return MemberStatus(value)
    except ValueError:
        raise InvalidRequestError(f"Invalid status: {value}") from None


def parse_limit(value: str | None, limits: Limits) -> int:
    if value is None:
        return min(limits.limit_param_default, limits.api_limit_max)
    try:
        limit = int(value)
    except ValueError:
        raise InvalidRequestError("limit param must be an integer") from None
    if limit < 0:
        raise InvalidRequestError("limit param must be positive")
    return min(limit, limits.api_limit_max)


def _parse_sort(parameters: Sequence[tuple[str, str]]) -> tuple[SortKey, ...]:
    """Read either syntax of sorting; created_at and id always decide what is left.

    They do so in the direction of everything else, if that is one.
    """

    def values(wanted: str) -> list[str]:
        return [value.strip() for name, value in parameters if name == wanted]

    fields, directions = values("sort_key"), values("sort_dir")
    if values("sort"):
        if fields or directions:
            raise InvalidRequestError("Old and new sorting syntax cannot be combined")
        pairs = [item.partition(":") for item in values("sort")[-1].split(",")]
        fields = [pair[0].strip() for pair in pairs]
        directions = [pair[2].strip() if pair[2] else "desc" for pair in pairs]
    fields = fields or ["created_at"]
    directions = directions or ["desc"]
    tie = directions[0] if len(directions) == 1 else "desc"
    if len(directions) == 1:
        directions *= len(fields)
    if len(directions) != len(fields):
        raise InvalidRequestError("Number of sort dirs does not match the number of sort keys")
    keys: dict[str, SortKey] = {}
    for field, direction in zip(fields, directions, strict=True):
        _require_one_of("sort key", field, SORT_FIELDS)
        _require_one_of("sort direction", direction, ("asc", "desc"))
        keys.setdefault(field, SortKey(field, direction == "desc"))
    for field in ("created_at", "id"):
        keys.setdefault(field, SortKey(field, tie == "desc"))
    return tuple(keys.values())


def _require_one_of(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InvalidRequestError(
            f"Invalid {what}: {value}. It must be one of the following: {', '.join(allowed)}."
        )
