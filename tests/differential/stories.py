"""Stories: some images, and what callers do with them, sensible and not.

Values come from small sets, so that calls meet what others have left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from hypothesis import strategies as st

from differential.call import Call, segment

Story: TypeAlias = tuple[Call, ...]
Texts: TypeAlias = st.SearchStrategy[str]
Values: TypeAlias = st.SearchStrategy[Any]

IMAGES = 4  # of one story
CALLS = 16  # after the first images are there, at most
V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"
OCTETS = "application/octet-stream"
_LONG = "n" * 255
_UUID = "01234567-89ab-cdef-0123-456789abcdef"


def _one(*values: Any) -> Values:
    return st.sampled_from(values)


def _mostly(good: Values, odd: Values) -> Values:
    """Return seldom what is odd: most stories should go on."""
    return st.integers(0, 9).flatmap(lambda number: good if number else odd)


_TAGS = _mostly(_one("a", "b", "x y", "ü", "a,b", "A"), _one("", _LONG, _LONG + "n", "a/b", " a "))
_MEMBERS = _mostly(_one("{p0}", "{p1}"), _one("", "p 3", "ü", _LONG + "n", 1, None, ["{p1}"]))
_IMAGE = _mostly(
    st.integers(0, IMAGES - 1).map(lambda number: f"{{{number}}}"), _one("{absent}", "x")
)

_FIELDS: dict[str, Values] = {
    "name": _mostly(
        _one(None, "", "a", "b", "a,b", 'q"x', "ü", "in:a", "A"), _one(_LONG, _LONG + "n", 1)
    ),
    "visibility": _mostly(
        _one("public", "community", "shared", "private"), _one("secret", None, 1)
    ),
    "protected": _mostly(st.booleans(), _one("true", None, 1)),
    "os_hidden": _mostly(st.booleans(), _one("true", None)),
    "container_format": _mostly(_one("bare", "ovf", "docker"), _one(None, "", "sack", 1)),
    "disk_format": _mostly(_one("raw", "qcow2", "iso"), _one(None, "floppy", 1)),
    "min_disk": _mostly(_one(0, 1, 5), _one(-1, (1 << 31) - 1, 1 << 31, "1", 1.5, 2.0, True, None)),
    "min_ram": _mostly(_one(0, 1, 5), _one(-1, (1 << 31) - 1, 1 << 31, "1", 1.5, None)),
    "owner": _mostly(_one("{p0}", "{p1}", None), _one("", _LONG + "n", 1)),
    "tags": _mostly(
        st.lists(_one("a", "b", "x y", "ü"), max_size=3), _one("a", None, [1], [_LONG + "n"], [""])
    ),
}
_PROPERTIES: dict[str, Values] = {
    "k": _mostly(_one("v", "w", "", "V"), _one(None, 1, [], {}, True, "n" * 70000)),
    "l": _one("v", "w"),
    "a/b": _one("v"),
    "a~b": _one("v"),
    "os_distro": _one("x", ""),
    "architecture": _one("x86_64", None),
}
_REFUSED: dict[str, Values] = {
    **{name: _one("x", None, 1) for name in ("status", "size", "checksum", "self", "location")},
    **{name: _one("x", None) for name in ("deleted", "os_glance_x", "created_at", "stores")},
    **{
        name: _one("x") for name in ("direct_url", "file", "schema", "virtual_size", "os_hash_algo")
    },
    "kernel_id": _one(_UUID, "x", None),
    "n" * 256: _one("v"),
    "": _one("v"),
}
_NAMES = _mostly(_one(*_FIELDS, *_PROPERTIES), _one(*_REFUSED, "id"))
_KNOWN = {**_FIELDS, **_PROPERTIES, **_REFUSED, "id": _one(_UUID, "x")}


def _creation(image: Values) -> st.SearchStrategy[Call]:
    formats = {
        "disk_format": _mostly(st.just("raw"), _FIELDS["disk_format"]),
        "container_format": _mostly(st.just("bare"), _FIELDS["container_format"]),
    }
    others = {name: values for name, values in _FIELDS.items() if name not in formats}
    sensible = st.fixed_dictionaries({"id": image, **formats}, optional={**others, **_PROPERTIES})
    refused = st.sampled_from(sorted(_REFUSED)).flatmap(
        lambda name: st.fixed_dictionaries({"id": image, name: _KNOWN[name]})
    )
    broken = _one([], None, "x", {"id": "x"}, {"id": None})
    document = _mostly(sensible, st.one_of(refused, broken))
    return st.builds(lambda document: Call("POST", "/images", document=document), document)


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


@st.composite
def _change(draw: st.DrawFn, media_type: str) -> Any:
    name = draw(_NAMES)
    operation = draw(_mostly(_one("add", "replace", "remove"), _one("move", "", None, 1)))
    odd = _one(name, "/", "//", f"/{name}/", f"/{name}/x", f"/{name}~2", "", "/k ", "/tags/-")
    path = draw(_mostly(st.just(_pointer(name)), odd))
    change: dict[Any, Any] = {"op": operation, "path": path}
    if media_type == V20:
        change = {operation if isinstance(operation, str) else "add": path}
    if operation != "remove" or draw(st.booleans()):
        change["value"] = draw(_KNOWN[name])
    missing = draw(_mostly(st.none(), st.sampled_from(sorted(change, key=str))))
    change.pop(missing, None)
    return change


@st.composite
def _patch(draw: st.DrawFn) -> Call:
    media_type = draw(_mostly(_one(V21, V21, V20), _one("application/json", "")))
    changes = st.lists(_change(media_type), max_size=3)
    document = draw(_mostly(changes, _one({}, None, "x", ["x"], [[]], [None])))
    path = f"/images/{draw(_IMAGE)}"
    return Call("PATCH", path, document=document, content_type=media_type)


_TIMES = _one(
    "2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z", "2001-01-01", "2001-01-01T00:00:00+01:00"
)
_ORDER = _one(
    "name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"
)
_FILTERS: dict[str, Values] = {
    **{
        name: _mostly(
            _one("a", "b", "in:a,b", 'in:"a,b"', "eq:a", "", "ü", "A"),
            _one(
                "in:",
                'in:"a',
                "neq:a",
                "x:y",
                'in:a"b"',
                "in:a,,b",
                'in:"a",b',
                "in:a, b",
                'in:"q\\"x"',
            ),
        )
        for name in ("name",)
    },
    "status": _one("queued", "active", "in:queued,active", "deactivated", "x", "killed", "deleted"),
    "container_format": _one("bare", "in:bare,ovf", "x", "neq:bare"),
    "disk_format": _one("raw", "in:raw,iso", "x"),
    "id": _one("{0}", "in:{0},{1}", "{absent}", "x"),
    "owner": _one("{p0}", "", "in:{p0},{p1}"),
    "visibility": _mostly(_one("public", "community", "shared", "private", "all"), _one("", "x")),
    "protected": _mostly(_one("true", "false"), _one("True", "1", "")),
    "os_hidden": _mostly(_one("true", "false", "True"), _one("1", "")),
    "size": _one("4", "0", "x", "", "04"),
    "size_min": _mostly(_one("0", "1", "4", "5"), _one("x", "", "1.5", "-1", " 4 ", "+4")),
    "size_max": _mostly(_one("0", "3", "4", "5"), _one("x", "")),
    "min_ram": _one("0", "1", "x"),
    "min_ram_min": _one("1", "x"),
    "min_disk": _one("0", "1"),
    "min_disk_max": _one("1", "0"),
    "checksum": _one("8d777f385d3dfec8815d20f7496026dc", "x", ""),
    "os_hash_algo": _one("sha512", "x"),
    "os_hash_value": _one("x", ""),
    "created_at": st.one_of(
        _TIMES,
        st.tuples(_one("gt", "gte", "lt", "lte", "neq", "eq", "in", "x"), _TIMES).map(":".join),
        _one("x", "gt:x", "gt:", ""),
    ),
    "updated_at": st.tuples(_one("gt", "lt"), _TIMES).map(":".join),
    "tag": _TAGS,
    "k": _one("v", "w", "", "V"),
    "l": _one("v", "x"),
    "a/b": _one("v"),
    "os_distro": _one("x", ""),
    "member_status": _mostly(_one("accepted", "pending", "rejected", "all"), _one("x", "")),
    "changes-since": _one("2001-01-01T00:00:00Z", ""),
    "deleted": _one("true", "false"),
    "name_min": _one("1", "x"),
    "foo_max": _one("1", "x"),
    "properties": _one("x"),
    "tags": _one("a"),
    "locations": _one("x"),
    "virtual_size": _one("4"),
    "limit": _mostly(
        _one("1", "2", "3", "100"), _one("0", "-1", "x", "", "1.5", " 2", "+2", "9" * 30)
    ),
    "marker": _mostly(_one("{0}", "{1}", "{2}"), _one("{absent}", "x", "")),
    "sort_key": _mostly(_ORDER, _one("owner", "x", "", " name ")),
    "sort_dir": _mostly(_one("asc", "desc"), _one("up", "", "ASC", " asc")),
    "sort": _mostly(
        st.lists(
            st.tuples(_ORDER, _one("", ":asc", ":desc")).map("".join), min_size=1, max_size=3
        ).map(",".join),
        _one("", "x", "name:up", "name,", " name : asc "),
    ),
}
_PAIR = st.sampled_from(sorted(_FILTERS)).flatmap(
    lambda name: st.tuples(st.just(name), _FILTERS[name])
)
_PAGED = st.tuples(
    _ORDER, _one("asc", "desc"), _one("1", "2"), _one("{0}", "{1}", "{2}", "{3}")
).map(
    lambda drawn: (
        ("sort_key", drawn[0]),
        ("sort_dir", drawn[1]),
        ("limit", drawn[2]),
        ("marker", drawn[3]),
    )
)
_LISTS = st.one_of(st.lists(_PAIR, max_size=3).map(tuple), _PAGED, st.just(())).map(
    lambda query: Call("GET", "/images", query)
)


def _about(method: str, path: Values, document: Values | None = None) -> st.SearchStrategy[Call]:
    """Calls about an image: `path` is what follows its id."""
    return st.builds(
        lambda image, rest, document: Call(method, f"/images/{image}{rest}", document=document),
        _IMAGE,
        path,
        st.none() if document is None else document,
    )


_UPLOADS = st.builds(
    lambda image, body, kind: Call("PUT", f"/images/{image}/file", body=body, content_type=kind),
    _IMAGE,
    _mostly(_one(b"data", b"other data"), _one(b"")),
    _mostly(st.just(OCTETS), _one("text/plain")),
)
_MEMBER_PATHS = _mostly(_one("{p0}", "{p1}"), _one("p 3", "ü", "p9")).map(
    lambda name: f"/members/{segment(name)}"
)
_TAG_PATHS = _TAGS.map(lambda tag: f"/tags/{segment(tag)}")
_ANSWERS = _mostly(
    _one("accepted", "rejected", "pending").map(lambda status: {"status": status}),
    _one({}, [], None, "x", {"status": "x"}, {"status": None}, {"status": []}),
)
_CALLS = st.one_of(
    _creation(st.integers(0, IMAGES - 1).map(lambda number: f"{{{number}}}")),
    _patch(),
    _patch(),
    _LISTS,
    _LISTS,
    _LISTS,
    _UPLOADS,
    _about("GET", st.just("/file")),
    _about("GET", st.just("")),
    _about("DELETE", st.just("")),
    _about("POST", _one("/actions/deactivate", "/actions/reactivate")),
    _about("PUT", _TAG_PATHS),
    _about("DELETE", _TAG_PATHS),
    _about(
        "POST",
        st.just("/members"),
        _mostly(_MEMBERS.map(lambda name: {"member": name}), _one({}, [], None, "x")),
    ),
    _about("GET", st.just("/members")),
    _about("GET", _MEMBER_PATHS),
    _about("PUT", _MEMBER_PATHS, _ANSWERS),
    _about("DELETE", _MEMBER_PATHS),
)


@st.composite
def stories(draw: st.DrawFn, callers: int) -> Story:
    """Some images of some callers, then anything of anybody."""
    first = [
        draw(_creation(st.just(f"{{{number}}}"))) for number in range(draw(st.integers(1, IMAGES)))
    ]
    calls = (*first, *draw(st.lists(_CALLS, max_size=CALLS)))
    return tuple(replace(call, caller=draw(st.integers(0, callers - 1))) for call in calls)
