"""Stories: some images, and what callers do with them, sensible and not.

Values come from small sets, so that calls meet what others have left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from hypothesis import strategies as st

from differential.call import Call, segment
from differential.data import V21, data_calls
from differential.drawing import IMAGE, IMAGES, LONG, TAGS, Values, about, mostly, one
from differential.lists import LISTS

Story: TypeAlias = tuple[Call, ...]

CALLS_MIN, CALLS_MAX = 6, 20  # after the first images are there
V20 = "application/openstack-images-v2.0-json-patch"
_UUID = "01234567-89ab-cdef-0123-456789abcdef"


_MEMBERS = mostly(one("{p0}", "{p1}"), one("", "p 3", "ü", LONG + "n", 1, None, ["{p1}"]))

_FIELDS: dict[str, Values] = {
    "name": mostly(
        one(None, "", "a", "b", "a,b", 'q"x', "ü", "in:a", "A"), one(LONG, LONG + "n", 1)
    ),
    "visibility": mostly(one("public", "community", "shared", "private"), one("secret", None, 1)),
    "protected": mostly(st.booleans(), one("true", None, 1)),
    "os_hidden": mostly(st.booleans(), one("true", None)),
    "container_format": mostly(one("bare", "ovf", "docker"), one(None, "", "sack", 1)),
    "disk_format": mostly(one("raw", "qcow2", "iso"), one(None, "floppy", 1)),
    "min_disk": mostly(one(0, 1, 5), one(-1, (1 << 31) - 1, 1 << 31, "1", 1.5, 2.0, True, None)),
    "min_ram": mostly(one(0, 1, 5), one(-1, (1 << 31) - 1, 1 << 31, "1", 1.5, None)),
    "owner": mostly(one("{p0}", "{p1}", None), one("", LONG + "n", 1)),
    "tags": mostly(
        st.lists(one("a", "b", "x y", "ü"), max_size=3), one("a", None, [1], [LONG + "n"], [""])
    ),
}
_PROPERTIES: dict[str, Values] = {
    "k": mostly(one("v", "w", "", "V"), one(None, 1, [], {}, True, "n" * 70000)),
    "l": one("v", "w"),
    "a/b": one("v"),
    "a~b": one("v"),
    "os_distro": one("x", ""),
    "architecture": one("x86_64", None),
}
_REFUSED: dict[str, Values] = {
    **{name: one("x", None, 1) for name in ("status", "size", "checksum", "self", "location")},
    **{name: one("x", None) for name in ("deleted", "os_glance_x", "created_at", "stores")},
    **{name: one("x") for name in ("direct_url", "file", "schema", "virtual_size", "os_hash_algo")},
    "kernel_id": one(_UUID, "x", None),
    "n" * 256: one("v"),
    "": one("v"),
}
_NAMES = mostly(one(*_FIELDS, *_PROPERTIES), one(*_REFUSED, "id"))
_KNOWN = {**_FIELDS, **_PROPERTIES, **_REFUSED, "id": one(_UUID, "x")}


def _creation(image: Values) -> st.SearchStrategy[Call]:
    formats = {
        "disk_format": mostly(st.just("raw"), _FIELDS["disk_format"]),
        "container_format": mostly(st.just("bare"), _FIELDS["container_format"]),
    }
    others = {name: values for name, values in _FIELDS.items() if name not in formats}
    sensible = st.fixed_dictionaries({"id": image, **formats}, optional={**others, **_PROPERTIES})
    refused = st.sampled_from(sorted(_REFUSED)).flatmap(
        lambda name: st.fixed_dictionaries({"id": image, name: _KNOWN[name]})
    )
    broken = one([], None, "x", {"id": "x"}, {"id": None})
    document = mostly(sensible, st.one_of(refused, broken))
    return st.builds(lambda document: Call("POST", "/images", document=document), document)


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


@st.composite
def _change(draw: st.DrawFn, media_type: str) -> Any:
    name = draw(_NAMES)
    operation = draw(mostly(one("add", "replace", "remove"), one("move", "", None, 1)))
    odd = one(name, "/", "//", f"/{name}/", f"/{name}/x", f"/{name}~2", "", "/k ", "/tags/-")
    path = draw(mostly(st.just(_pointer(name)), odd))
    change: dict[Any, Any] = {"op": operation, "path": path}
    if media_type == V20:
        change = {operation if isinstance(operation, str) else "add": path}
    if operation != "remove" or draw(st.booleans()):
        change["value"] = draw(_KNOWN[name])
    missing = draw(mostly(st.none(), st.sampled_from(sorted(change, key=str))))
    change.pop(missing, None)
    return change


@st.composite
def _patch(draw: st.DrawFn) -> Call:
    media_type = draw(mostly(one(V21, V21, V20), one("application/json", "")))
    changes = st.lists(_change(media_type), max_size=3)
    document = draw(mostly(changes, one({}, None, "x", ["x"], [[]], [None])))
    path = f"/images/{draw(IMAGE)}"
    return Call("PATCH", path, document=document, content_type=media_type)


_MEMBER_PATHS = mostly(one("{p0}", "{p1}"), one("p 3", "ü", "p9")).map(
    lambda name: f"/members/{segment(name)}"
)
_TAG_PATHS = TAGS.map(lambda tag: f"/tags/{segment(tag)}")
_ANSWERS = mostly(
    one("accepted", "rejected", "pending").map(lambda status: {"status": status}),
    one({}, [], None, "x", {"status": "x"}, {"status": None}, {"status": []}),
)
_CALLS = st.one_of(
    _creation(st.integers(0, IMAGES - 1).map(lambda number: f"{{{number}}}")),
    _patch(),
    _patch(),
    LISTS,
    LISTS,
    LISTS,
    data_calls(),
    data_calls(),
    data_calls(),
    about("GET", st.just("")),
    about("DELETE", st.just("")),
    about("POST", one("/actions/deactivate", "/actions/reactivate")),
    about("PUT", _TAG_PATHS),
    about("DELETE", _TAG_PATHS),
    about(
        "POST",
        st.just("/members"),
        mostly(_MEMBERS.map(lambda name: {"member": name}), one({}, [], None, "x")),
    ),
    about("GET", st.just("/members")),
    about("GET", _MEMBER_PATHS),
    about("PUT", _MEMBER_PATHS, _ANSWERS),
    about("DELETE", _MEMBER_PATHS),
)


@st.composite
def stories(draw: st.DrawFn, callers: int) -> Story:
    """Some images of some callers, then anything of anybody."""
    first = [
        draw(_creation(st.just(f"{{{number}}}"))) for number in range(draw(st.integers(1, IMAGES)))
    ]
    calls = (*first, *draw(st.lists(_CALLS, min_size=CALLS_MIN, max_size=CALLS_MAX)))
    return tuple(replace(call, caller=draw(st.integers(0, callers - 1))) for call in calls)
