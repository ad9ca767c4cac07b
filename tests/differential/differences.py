"""The closed list of what the catalog answers otherwise than Glance, each with its reason.

What comparisons leave out on top is in `differential.sides`: our own fields, the store's addresses,
bodies of refusals, and what links to further pages repeat of parameters of one name (Glance: one).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from differential.call import Call
from harness.http import Answer


@dataclass(frozen=True, slots=True)
class Difference:
    """One of them: what it is, why it stays, and which calls it explains.

    Behind it the two sides may hold different things: a story ends there.
    """

    what: str
    why: str
    covers: Callable[[Call, Answer, Answer], bool]  # the call, Glance's answer, ours


_OPERATORS = frozenset({"in", "eq"})
_WITH_OPERATORS = frozenset({"name", "id", "status", "container_format", "disk_format"})
_NUMBERS = frozenset({"size", "virtual_size", "min_ram", "min_disk"})


def _statuses(theirs: Answer, ours: Answer) -> tuple[int, int]:
    return theirs.status, ours.status


def _lists(call: Call) -> bool:
    return (call.method, call.path) == ("GET", "/images")


def _glance_failed(_call: Call, theirs: Answer, ours: Answer) -> bool:
    return theirs.status == 500 and ours.status < 500


def _format_is_wrong(call: Call, theirs: Answer, ours: Answer) -> bool:
    return call.path.endswith("/file") and _statuses(theirs, ours) == (415, 204)


def _hash_is_given(call: Call, theirs: Answer, ours: Answer) -> bool:
    given = isinstance(call.document, dict) and call.document.keys() & {
        "os_hash_algo",
        "os_hash_value",
    }
    return call.method == "POST" and bool(given) and _statuses(theirs, ours) == (201, 403)


def _common_property(call: Call, theirs: Answer, ours: Answer) -> bool:
    named = "kernel_id" in json.dumps(call.document)
    return named and theirs.status in {200, 201, 409} and ours.status == 400


def _virtual_size(call: Call, theirs: Answer, ours: Answer) -> bool:
    asked = any(name == "virtual_size" for name, _ in call.query)
    return asked and _statuses(theirs, ours) == (200, 200)


def _colon_in_filter(call: Call, theirs: Answer, ours: Answer) -> bool:
    return (
        _lists(call)
        and _statuses(theirs, ours) == (400, 200)
        and any(
            name in _WITH_OPERATORS and ":" in value and value.partition(":")[0] not in _OPERATORS
            for name, value in call.query
        )
    )


def _no_number(call: Call, theirs: Answer, ours: Answer) -> bool:
    return (
        _lists(call)
        and _statuses(theirs, ours) == (200, 400)
        and any(name in _NUMBERS and not value.strip().isdigit() for name, value in call.query)
    )


def _odd_filter(call: Call, _theirs: Answer, ours: Answer) -> bool:
    bounds = (name for name, _ in call.query if name.endswith(("_min", "_max")))
    return (
        _lists(call)
        and ours.status == 200
        and (
            any(name[:-4] not in _NUMBERS for name in bounds)
            or any(name == "tags" for name, _ in call.query)
        )
    )


def _nothing_to_sort_by(call: Call, theirs: Answer, ours: Answer) -> bool:
    """Tell whether the answers differ in images alone that have no name or size to sort by."""
    if not _lists(call) or _statuses(theirs, ours) != (200, 200):
        return False
    asked = " ".join(value for name, value in call.query if name in {"sort", "sort_key"})
    return any(
        field in asked and _having(theirs, field) == _having(ours, field)
        for field in ("name", "size")
    )


def _having(answer: Answer, field: str) -> list[Any]:
    return [image["id"] for image in answer.json()["images"] if image[field]]


DIFFERENCES = (
    Difference(
        "Glance fails (500), the catalog answers",
        "whatever is asked, it is no failure of the server",
        _glance_failed,
    ),
    Difference(
        "Glance refuses data that is not what disk_format says (415), the catalog takes it",
        "the inspection of formats is to come",
        _format_is_wrong,
    ),
    Difference(
        "a new image may not be given os_hash_algo or os_hash_value (403)",
        "they are read-only; Glance keeps them as a custom property that nobody ever sees",
        _hash_is_given,
    ),
    Difference(
        "kernel_id and ramdisk_id must be ids of images (400)",
        "so Glance's packages have it, in a schema-image.json that the tests' Glance is without",
        _common_property,
    ),
    Difference(
        "virtual_size is not known",
        "the inspection of formats is to come",
        _virtual_size,
    ),
    Difference(
        "a filter may hold a colon: name=ubuntu:24.04",
        "Glance takes what is before it for an operator that it does not know (400)",
        _colon_in_filter,
    ),
    Difference(
        "a filter by size, min_ram or min_disk must be a number (400)",
        "Glance leaves it to the database: SQLite finds nothing, MySQL takes it for 0, PostgreSQL fails",
        _no_number,
    ),
    Difference(
        "X_min and X_max are bounds of numbers, and tags no field: else they are custom properties",
        "Glance compares any column as the database likes, and takes tags letter by letter",
        _odd_filter,
    ),
    Difference(
        "sorted by name or size, images without one are one group in every page",
        "Glance tells no name from an empty one only where a page begins, and its pages lose or "
        "repeat images without a size, on SQLite",
        _nothing_to_sort_by,
    ),
)


def explained(call: Call, theirs: Answer, ours: Answer) -> Difference | None:
    """Return the difference that explains two answers."""
    found = (each for each in DIFFERENCES if each.covers(call, theirs, ours))
    return next(found, None)
