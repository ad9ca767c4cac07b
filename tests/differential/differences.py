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
comparison are the catalog's own fields (`os_manifest`), addresses of stores, what links to further pages repeat of
parameters that may stand once only, and how refusals are told: their words, and their form in JSON, which is
`{"error": {"code": 404, "title": "Not Found", "message": "…"}}` here, because python-glanceclient fails on Glance's
(`{"code": "404 Not Found", "title": "Not Found", "message": "…"}`).  What the server before Glance says of HTTP itself
(unknown methods, long lines) is its own.

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
    named = any(value.startswith("os_glance_") for _, value in call.headers)
    return (
        call.path.startswith("/stores/os_glance_") and _statuses(theirs, ours) == (404, 409)
    ) or (named and _statuses(theirs, ours) == (204, 400))


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
    asked = _sent(call) + call.path + "".join(value for _, value in call.query)
    return any(sign in asked for sign in ("\\u0000", "\\ud800", "%00", "\0")) and ours.status == 400


def _beyond_the_plane(call: Call, theirs: Answer, ours: Answer) -> bool:
    sent = (
        call.body if isinstance(call.body, str) else json.dumps(call.document, ensure_ascii=False)
    )
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
        and any(name in _NUMBERS and not _is_size(value) for name, value in call.query)
    )


def _is_size(text: str) -> bool:
    return text.strip().isdigit() and int(text) < 1 << 63


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
    if not unquote(call.path).isascii():
        told = "/tags/" in call.path and _statuses(theirs, ours) == (404, 204)
        return told or ("/members/" in call.path and theirs.status == 404 != ours.status)
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


def _head_of_data(call: Call, theirs: Answer, ours: Answer) -> bool:
    return (
        call.method == "HEAD" and call.path.endswith("/file") and theirs.status == 405 > ours.status
    )


def _body_of_no_use(call: Call, theirs: Answer, ours: Answer) -> bool:
    forbidden = call.method == "DELETE" and call.path.startswith("/tasks/") and ours.status == 403
    return call.body is not None and theirs.status == 400 and (ours.status == 405 or forbidden)


def _no_such_method(call: Call, theirs: Answer, ours: Answer) -> bool:
    return call.path.endswith("/tasks") and theirs.status in {404, 501} and ours.status == 405


def _allowed_to_locations(call: Call, theirs: Answer, ours: Answer) -> bool:
    return call.path.endswith("/locations") and _statuses(theirs, ours) == (405, 405)


def _cache(call: Call, theirs: Answer, ours: Answer) -> bool:
    return call.path.startswith("/cache") and theirs.status == 405 and ours.status in {404, 501}


def _half_a_range(call: Call, theirs: Answer, ours: Answer) -> bool:
    is_of_part = any(name.endswith("Range") for name, _ in call.headers)
    return is_of_part and _statuses(theirs, ours) == (206, 416)


def _size_of_refused(_call: Call, theirs: Answer, ours: Answer) -> bool:
    told = (theirs.headers.get("content-range"), ours.headers.get("content-range", "")[:8])
    return _statuses(theirs, ours) == (416, 416) and told == (None, "bytes */")


def _plus_as_it_is(call: Call, theirs: Answer, ours: Answer) -> bool:
    is_zone = any("T" in value and " " in value for _, value in call.query)
    return _lists(call) and is_zone and _statuses(theirs, ours) == (400, 200)


def _semicolon(call: Call, _theirs: Answer, ours: Answer) -> bool:
    return call.path.startswith("/images?") and ";" in call.path and ours.status == 200


def _twice(call: Call, theirs: Answer, ours: Answer) -> bool:
    names = [name for name, _ in call.query]
    is_twice = any(names.count(name) > 1 for name in ("sort", "visibility"))
    return _lists(call) and is_twice and theirs.status in {200, 400} and ours.status in {200, 400}


def _escaped_slash(call: Call, theirs: Answer, ours: Answer) -> bool:
    return "%2f" in call.path.lower() and theirs.status != ours.status


def _place_of_nothing(call: Call, theirs: Answer, ours: Answer) -> bool:
    return call.path.endswith("/locations") and _statuses(theirs, ours) == (202, 400)


def _scheme_in_capitals(call: Call, theirs: Answer, ours: Answer) -> bool:
    is_capital = "HTTP:" in json.dumps(call.document) + _sent(call)
    return call.path.endswith("/locations") and is_capital and theirs.status == 403 != ours.status


def _task_of_glance(call: Call, theirs: Answer, ours: Answer) -> bool:
    return (call.method, call.path) == ("POST", "/tasks") and _statuses(theirs, ours) == (201, 400)


def _request_id(call: Call, theirs: Answer, ours: Answer) -> bool:
    is_sent = any(name.lower() == "x-openstack-request-id" for name, _ in call.headers)
    return is_sent and _statuses(theirs, ours) == (401, 431)


def _no_names_of_stores(call: Call, theirs: Answer, ours: Answer) -> bool:
    given = call.document.get("stores") if isinstance(call.document, dict) else []
    names = isinstance(given, list) and all(isinstance(name, str) for name in given)
    return call.path.endswith("/import") and not names and _statuses(theirs, ours) in _ODD_STORES


_ODD_STORES = {(202, 400), (409, 400)}


def _failed_stores(_call: Call, theirs: Answer, ours: Answer) -> bool:
    """Tell whether Glance names stores beside that where an import failed."""
    if _statuses(theirs, ours) != (200, 200) or b"os_glance_failed_import" not in theirs.body:
        return False
    shown, wanted = _images(ours), _images(theirs)
    name = "os_glance_failed_import"
    return [each["id"] for each in shown] == [each["id"] for each in wanted] and any(
        set(here.get(name, "").split(",")) < set(there.get(name, "").split(","))
        for here, there in zip(shown, wanted, strict=True)
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
        "os_glance_staging_store is no store: nothing is removed from it (409), or uploaded to it (400)",
        "Glance takes the stores that it reserves for others: it finds no image in them (404), and keeps "
        "data in its staging area for good",
        _staging_store,
    ),
    Difference(
        "a tag or a member in a path is UTF-8: PUT …/tags/%C3%BC adds the tag ü",
        "Glance behind a WSGI server takes every byte for a letter of its own, and shows Ã¼",
        _tag_of_a_path,
    ),
    Difference(
        "an image whose data was refused has no os_hash_algo",
        "Glance leaves the algorithm there, without a hash",
        _refused_data,
    ),
    Difference(
        "HEAD of an image's data is answered as GET is, without the data",
        "Glance has none (405); qemu and others ask for the size with it",
        _head_of_data,
    ),
    Difference(
        "a method that a path has not (405), or a right to it (403), is told whatever is sent with it",
        "Glance reads a body first, of PATCH /v2/images too, and refuses one that is no JSON (400)",
        _body_of_no_use,
    ),
    Difference(
        "a method that the path of an image's tasks has not is 405, as anywhere",
        "Glance knows no such path then (404, or 501 for methods that it has nowhere)",
        _no_such_method,
    ),
    Difference(
        "Allow of an image's locations names GET and POST",
        "Glance names POST only, and answers GET",
        _allowed_to_locations,
    ),
    Difference(
        "there is nothing at /v2/cache, whatever the method (404, 501)",
        "the catalog has no cache; Glance has none without a configured one, but names the methods (405)",
        _cache,
    ),
    Difference(
        "a range is read as a whole: bytes=0-b, bytes=1-2-3 and bytes=-0 are malformed (416)",
        "Glance takes what it understands of it, and for -0 the whole image; behind a Content-Range "
        "beyond the image's end it promises more than it sends",
        _half_a_range,
    ),
    Difference(
        "who asks for a range that is not there is told the size (Content-Range: bytes */SIZE)",
        "RFC 9110 section 14.4; Glance leaves it out",
        _size_of_refused,
    ),
    Difference(
        "the + of a time's zone may stand in a query as it is",
        "there it means a space, and Glance refuses the time (400)",
        _plus_as_it_is,
    ),
    Difference(
        "a filter may hold a semicolon: name=a;b",
        "Glance begins another parameter with it, which finds nothing",
        _semicolon,
    ),
    Difference(
        "of several sort or visibility the last counts",
        "Glance takes the first, and looks for images with a property of that name",
        _twice,
    ),
    Difference(
        "a slash that is escaped (%2F) is a letter, also of a member's name",
        "Glance behind a WSGI server cannot tell it from one that parts names: "
        "…/images/ID%2Ffile gives data, and such a member is never found",
        _escaped_slash,
    ),
    Difference(
        "a place where no data can be read is not added: POST …/locations (400)",
        "Glance finds out later, and leaves the image queued without a word",
        _place_of_nothing,
    ),
    Difference(
        "schemes of places are the same in capitals: HTTP://…",
        "RFC 3986 section 3.1; Glance takes them for none of its stores (403)",
        _scheme_in_capitals,
    ),
    Difference(
        "tasks that clients may ask for are imports (400)",
        "Glance takes the names of its own ones too, and never does them",
        _task_of_glance,
    ),
    Difference(
        "stores of an import that are no list of names are refused as such (400)",
        "Glance takes a text letter by letter, or fails later (409, 202); a store that is named twice "
        "it waits for without end",
        _no_names_of_stores,
    ),
    Difference(
        "os_glance_failed_import names the stores where an import failed",
        "Glance names those too from which it took the data back for it",
        _failed_stores,
    ),
    Difference(
        "a request's id that is too long is told before a missing token is (431)",
        "Glance looks who calls first (401)",
        _request_id,
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
