"""The closed list of what the catalog answers otherwise than Glance, each with its reason.

`PYTHONPATH=.:tests python -m differential.differences` writes docs/differences-catalog.md.

What comparisons leave out on top is in `differential.sides`: our own fields, the store's addresses,
bodies of refusals, and what links to further pages repeat of parameters of one name (Glance: one).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from differential.call import Call
from harness.http import Answer
from registry.domain.limits import INTEGER_MAX, NAME_LENGTH_MAX

PAGE = Path(__file__).parents[2] / "docs/differences-catalog.md"
HEAD = """# What the catalog answers otherwise than Glance

The tests draw records, lists, tags and members at random, ask the real Glance 33 and the catalog the same, and accept no
other difference than these (`tests/differential/differences.py`, from which this page is generated). Left out of the
comparison are the catalog's own fields (`os_manifest`), addresses of stores, the words of refusals, and what links to
further pages repeat of parameters that may stand once only.

What is different about data, places, imports, properties and who may do what is told where it is explained:
[image data](image-data.md), [uploads](uploads.md), [locations](locations.md), [imports](imports.md),
[properties](properties.md), [policies](policies.md), [notifications](notifications.md).

| in the catalog | in Glance, and why it is not so here |
|---|---|
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """One of them: what it is, why it stays, and which calls it explains.

    Behind a change the two sides may hold different things: a story ends there.
    """

    what: str
    why: str
    covers: Callable[[Call, Answer, Answer], bool]  # the call, Glance's answer, ours


_OPERATORS = frozenset({"in", "eq"})
_WITH_OPERATORS = frozenset({"name", "id", "status", "container_format", "disk_format"})
_NUMBERS = frozenset({"size", "virtual_size", "min_ram", "min_disk"})
_PATHS = frozenset({"path", "add", "replace", "remove"})  # where a change says what it changes


def _statuses(theirs: Answer, ours: Answer) -> tuple[int, int]:
    return theirs.status, ours.status


def _lists(call: Call) -> bool:
    return (call.method, call.path) == ("GET", "/images")


def _glance_failed(_call: Call, theirs: Answer, ours: Answer) -> bool:
    return theirs.status == 500 and ours.status < 500


def _hash_is_given(call: Call, theirs: Answer, ours: Answer) -> bool:
    given = isinstance(call.document, dict) and call.document.keys() & {
        "os_hash_algo",
        "os_hash_value",
    }
    return (
        (call.method, call.path) == ("POST", "/images")
        and bool(given)
        and ours.status == 403
        and theirs.status in {201, 409}
    )


def _common_property(call: Call, theirs: Answer, ours: Answer) -> bool:
    document = json.dumps(call.document)
    if "kernel_id" not in document:
        return False
    none = '"kernel_id": null' in document or '"value": null' in document
    return (theirs.status in {200, 201, 403, 404, 409} and ours.status == 400) or (
        none and theirs.status == 400 and ours.status < 500
    )


def _range_of_nothing(call: Call, theirs: Answer, ours: Answer) -> bool:
    ranges = [value for name, value in call.headers if name.endswith("Range")]
    wrong = 400 if any("," in each for each in ranges) else 416
    return bool(ranges) and _statuses(theirs, ours) == (wrong, 204)


def _size_of_data(call: Call, theirs: Answer, ours: Answer) -> bool:
    sizes = [value for name, value in call.headers if name == "x-openstack-image-size"]
    return any(not size.isdigit() for size in sizes) and ours.status == 400 <= theirs.status


def _stores_in_patch(call: Call, theirs: Answer, ours: Answer) -> bool:
    return (
        call.method == "PATCH"
        and '"/stores' in _sent(call)
        and ours.status == 403
        and theirs.status in {200, 400, 404, 409}  # 400: of another of its changes
    )


def _staging_store(call: Call, theirs: Answer, ours: Answer) -> bool:
    return call.path.startswith("/stores/os_glance_") and _statuses(theirs, ours) == (404, 409)


def _sent(call: Call) -> str:
    return call.body if isinstance(call.body, str) else json.dumps(call.document)


def _given(call: Call) -> list[tuple[Any, Any]]:
    """Return the names and values that a creation gives, or a patch."""
    try:
        document = json.loads(_sent(call))
    except ValueError:
        return []
    if call.method == "POST" and isinstance(document, dict):
        return list(document.items())
    if call.method != "PATCH" or not isinstance(document, list):
        return []
    changes = [change for change in document if isinstance(change, dict)]
    paths = [next(map(change.get, _PATHS & change.keys()), None) for change in changes]
    return [
        (path.removeprefix("/"), change.get("value"))
        for path, change in zip(paths, changes, strict=True)
        if isinstance(path, str)
    ]


def _beyond_a_column(call: Call, theirs: Answer, ours: Answer) -> bool:
    numbers = [value for name, value in _given(call) if name in {"min_disk", "min_ram"}]
    return not all(map(_fits, numbers)) and ours.status == 400 <= theirs.status


def _fits(value: Any) -> bool:
    """Tell whether a database has room for a number, or it is none."""
    return not isinstance(value, int | float) or 0 <= value <= INTEGER_MAX


def _long_name(call: Call, _theirs: Answer, ours: Answer) -> bool:
    names = [name for name, _ in _given(call) if isinstance(name, str)]
    is_too_long = any(len(name) > NAME_LENGTH_MAX for name in names)
    return call.method == "PATCH" and is_too_long and ours.status == 400


def _no_text(call: Call, _theirs: Answer, ours: Answer) -> bool:
    return any(sign in _sent(call) for sign in ("\\u0000", "\\ud800")) and ours.status == 400


def _beyond_the_plane(call: Call, theirs: Answer, ours: Answer) -> bool:
    sent = call.body if isinstance(call.body, str) else ""
    return any(ord(sign) > 0xFFFF for sign in sent) and theirs.status == 400 and ours.status < 500


def _no_project(call: Call, theirs: Answer, ours: Answer) -> bool:
    if not (call.method == "POST" and call.path.endswith("/members") and ours.status == 400):
        return False
    member = call.document.get("member") if isinstance(call.document, dict) else ""
    return theirs.status != 400 and (not isinstance(member, str) or len(member) > 255)


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
    """Tell whether the answers differ in images alone that have no name or size to sort by.

    Behind a marker, perhaps one without, Glance may lack others as well; it never has more of them.
    """
    if not _lists(call) or _statuses(theirs, ours) != (200, 200):
        return False
    asked = " ".join(value for name, value in call.query if name in {"sort", "sort_key"})
    is_behind = any(name == "marker" for name, _ in call.query)
    for field in ("name", "size"):
        shown, wanted = _having(ours, field), _having(theirs, field)
        if field in asked and (shown == wanted or (is_behind and set(wanted) < set(shown))):
            return True
    return False


def _having(answer: Answer, field: str) -> list[Any]:
    return [image["id"] for image in answer.json()["images"] if image[field]]


def _tag_of_a_path(call: Call, theirs: Answer, ours: Answer) -> bool:
    """Tell whether Glance shows tags that are ours with each byte read as a letter, or lacks them."""
    if call.method == "DELETE" and "/tags/" in call.path and not unquote(call.path).isascii():
        return _statuses(theirs, ours) == (404, 204)
    if _statuses(theirs, ours) != (200, 200) or b'"tags":[' not in ours.body:
        return False
    if any(name == "tag" and not value.isascii() for name, value in call.query):
        return set(_ids(theirs)) < set(_ids(ours))
    tags = _tags(ours)
    return any(tag.encode().decode("latin-1") in _tags(theirs) - tags for tag in tags)


def _ids(answer: Answer) -> list[str]:
    return [image["id"] for image in answer.json()["images"]]


def _tags(answer: Answer) -> set[str]:
    return {tag for image in _images(answer) for tag in image["tags"]}


def _images(answer: Answer) -> list[dict[str, Any]]:
    document = answer.json()
    images: list[dict[str, Any]] = document.get("images", [document])
    return images


def _refused_data(_call: Call, theirs: Answer, ours: Answer) -> bool:
    """Tell whether Glance names the algorithm of a hash that an image without data has not."""
    if _statuses(theirs, ours) != (200, 200) or b'"os_hash_algo"' not in ours.body:
        return False
    images, wanted = _images(ours), _images(theirs)
    return [each["id"] for each in images] == [each["id"] for each in wanted] and any(
        there["status"] == here["status"] == "queued"
        and there["os_hash_algo"] is not None
        and here["os_hash_algo"] is None
        for here, there in zip(images, wanted, strict=True)
    )


DIFFERENCES = (
    Difference(
        "Glance fails (500), the catalog answers",
        "whatever is asked, it is no failure of the server",
        _glance_failed,
    ),
    Difference(
        "a new image may not be given os_hash_algo or os_hash_value (403)",
        "they are read-only; Glance keeps them as a custom property that nobody ever sees",
        _hash_is_given,
    ),
    Difference(
        "kernel_id and ramdisk_id must be ids of images, or null (400)",
        "so Glance's packages have it, in a schema-image.json that the tests' Glance is without",
        _common_property,
    ),
    Difference(
        "min_disk and min_ram beyond what a column holds are refused at first sight (400)",
        "Glance learns it from its database, when everything else has been looked at",
        _beyond_a_column,
    ),
    Difference(
        "names of properties have 255 characters at most in a patch too (400)",
        "Glance leaves it to its database: SQLite keeps longer ones, others fail",
        _long_name,
    ),
    Difference(
        "a text holds no NUL and no half of a character (400)",
        "PostgreSQL can keep none: Glance fails on it, or keeps it, or looks first who may",
        _no_text,
    ),
    Difference(
        "characters beyond the basic plane are as good as any",
        "Glance refuses them (400) for the sake of MySQL's old utf8",
        _beyond_the_plane,
    ),
    Difference(
        "a member is a text of 1 to 255 characters (400)",
        "Glance leaves it to the database, when everything else has been looked at",
        _no_project,
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
    Difference(
        "an image without data is without data (204), whatever range is asked for",
        "Glance looks at the range's form first (416, several 400), and fails on a good one (500)",
        _range_of_nothing,
    ),
    Difference(
        "a size of data that is none is refused at first sight (400)",
        "Glance looks first whether the image is there and may have data",
        _size_of_data,
    ),
    Difference(
        "a patch may not touch stores (403)",
        "it is read-only; Glance keeps it as a custom property that nobody ever sees",
        _stores_in_patch,
    ),
    Difference(
        "nothing is removed from os_glance_staging_store: it is no store (409)",
        "Glance takes the stores that it reserves for others here, and finds no image in them (404)",
        _staging_store,
    ),
    Difference(
        "a tag in a path is UTF-8: PUT …/tags/%C3%BC adds the tag ü",
        "Glance behind a WSGI server takes every byte for a letter of its own, and shows Ã¼",
        _tag_of_a_path,
    ),
    Difference(
        "an image whose data was refused has no os_hash_algo",
        "Glance leaves the algorithm there, without a hash",
        _refused_data,
    ),
)


def explained(call: Call, theirs: Answer, ours: Answer) -> Difference | None:
    """Return the difference that explains two answers."""
    found = (each for each in DIFFERENCES if each.covers(call, theirs, ours))
    return next(found, None)


def page() -> str:
    """Return docs/differences-catalog.md."""
    return HEAD + "".join(f"| {each.what} | {each.why} |\n" for each in DIFFERENCES)


if __name__ == "__main__":
    PAGE.write_text(page())
