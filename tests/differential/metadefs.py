"""Stories of metadata definitions: namespaces, what they have, who reads and who changes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from differential.call import Call, segment
from differential.drawing import Values, mostly, one
from differential.stories import Story

NAMESPACES = ("OS::One", "two", "th ree")
RESOURCE_TYPES = ("OS::Nova::Flavor", "OS::Glance::Image", "other")
CALLS_MIN, CALLS_MAX = 8, 24
_LONG = "n" * 80
_NAMES = mostly(one("a", "a", "b", "c:d", "A", "x y"), one("", _LONG, _LONG + "n"))
_NAMESPACE = mostly(one(NAMESPACES[0], *NAMESPACES), one("absent", _LONG))
_TYPE = mostly(
    one("string", "integer", "number", "boolean", "array", "object"), one(None, "text", 1)
)
_DEFINITIONS = st.fixed_dictionaries(
    {"title": mostly(one("T", ""), one(None, 1)), "type": _TYPE},
    optional={
        "description": mostly(one("x", ""), one(None)),
        "operators": mostly(one([], ["<in>"]), one("x", [1])),
        "default": mostly(one("x", "", 1, 1.5, True), one(None, [], {}, "ü")),
        "enum": mostly(one(["a", "b"], []), one([1], "x", [None])),
        "minimum": mostly(one(0, 1, 1.5, -3), one("1", None)),
        "maximum": one(5, 5.9),
        "minLength": mostly(one(0, 3), one(-1, 2.0, 1.5)),
        "maxLength": one(10),
        "pattern": one("^a", "["),
        "readonly": mostly(st.booleans(), one("true", 1)),
        "items": mostly(
            one({"type": "string"}, {"type": "string", "enum": ["a"]}), one({}, [], {"type": None})
        ),
        "uniqueItems": st.booleans(),
        "minItems": one(0, 1),
        "maxItems": one(3),
        "additionalItems": st.booleans(),
        **{name: one("x", True) for name in ("confidential", "unknown", "name")},
        "required": one(["a"], []),
    },
)
# Of all that may be said of a property, mostly little is.
_FEW: Values = st.builds(
    lambda whole, names: {
        name: value for name, value in whole.items() if name in {"title", "type", *names}
    },
    _DEFINITIONS,
    st.lists(
        one("description", "operators", "default", "enum", "minimum", "items", "readonly", "name"),
        max_size=2,
    ),
)
_DEFINITION = mostly(one({"title": "T", "type": "string"}, {"title": "U", "type": "integer"}), _FEW)
_DEFINITION = st.one_of(_DEFINITION, _FEW)
_PROPERTIES = mostly(
    st.dictionaries(one("p", "q", "pre_r"), _DEFINITION, max_size=2), one([], None, {"p": {}})
)
_OBJECT = mostly(
    st.fixed_dictionaries(
        {"name": _NAMES},
        optional={
            "description": mostly(one("about", ""), one(None, 1)),
            "required": mostly(one([], ["p"], ["p", "q"]), one("p", ["p", "p"], [1])),
            "properties": _PROPERTIES,
        },
    ),
    one({}, [], {"name": None}, {"name": "a", "self": "x"}, {"name": "a", "created_at": "x"}),
)
_PROPERTY = mostly(
    st.builds(lambda name, about: {**about, "name": name}, _NAMES, _DEFINITION),
    one({}, {"name": "a"}, {"name": "a", "title": "T", "type": "string", "updated_at": "x"}),
)
_TAG = mostly(
    _NAMES.map(lambda name: {"name": name}),
    one({}, {"name": None}, {"name": "a", "x": 1}, {"name": "a", "created_at": "x"}, []),
)
_TAGS = mostly(
    st.lists(_TAG, max_size=3).map(lambda tags: {"tags": tags}), one({}, {"tags": None}, {"x": 1})
)
_ASSOCIATION = mostly(
    st.fixed_dictionaries(
        {"name": one(*RESOURCE_TYPES)},
        optional={
            "prefix": mostly(one("pre_", "", "hw:"), one(None, _LONG + "n")),
            "properties_target": one("image", ""),
        },
    ),
    one({}, {"name": 1}, {"name": "other", "created_at": "x"}, {"name": "other", "x": "y"}),
)
_FIELDS: dict[str, Values] = {
    "display_name": mostly(one("Shown", "", "ü"), one(None, _LONG + "n")),
    "description": mostly(one("about", ""), one("n" * 501, 1)),
    "visibility": mostly(one("public", "private"), one("shared", None)),
    "protected": mostly(one(False, False, True), one("true", None)),
    "owner": mostly(one("{p0}", "{p1}", "{p2}"), one("", "o" * 256, None)),
}
_PARTS: dict[str, Values] = {
    "objects": mostly(st.lists(_OBJECT, max_size=2), one(None, {})),
    "tags": mostly(st.lists(_TAG, max_size=2), one("x")),
    "properties": _PROPERTIES,
    "resource_type_associations": st.lists(_ASSOCIATION, max_size=2),
}
_REFUSED: dict[str, Values] = {
    name: one("x") for name in ("self", "schema", "created_at", "updated_at", "unknown", "id")
}


def _namespace_of(name: Values) -> Values:
    return mostly(
        st.fixed_dictionaries({"namespace": name}, optional={**_FIELDS, **_PARTS}),
        st.one_of(
            one({}, [], "x", {"namespace": 1}, {"namespace": _LONG + "n"}),
            st.fixed_dictionaries({"namespace": name}, optional=_REFUSED),
        ),
    )


_ONE_NAME = one("a", "a", "b", "c:d", "A", "p")
_BELOW = mostly(one("objects", "properties", "tags"), one("resource_types", "nothing"))
_ORDER: dict[str, Values] = {
    "limit": mostly(one("1", "2", "100"), one("0", "-1", "x", "", "1.5", " 2")),
    "sort_key": mostly(one("created_at", "namespace", "visibility", "owner"), one("x", "id", "")),
    "sort_dir": mostly(one("asc", "desc"), one("up", "")),
    "marker": mostly(one(*NAMESPACES), one("absent", "")),
    "visibility": mostly(one("public", "private"), one("shared", "")),
    "resource_types": one("OS::Nova::Flavor", "OS::Glance::Image,other", "", "absent"),
    "unknown": one("x"),
}
_TAG_ORDER: dict[str, Values] = {
    **{name: _ORDER[name] for name in ("limit", "sort_dir", "visibility")},
    "sort_key": mostly(one("name", "created_at", "updated_at"), one("x")),
    "marker": mostly(one("a", "b", "A"), one("absent", "")),
}
_TYPED = one((), (), (("resource_type", "OS::Nova::Flavor"),), (("resource_type", ""),))
_APPENDED = one((), (("X-Openstack-Append", "true"),), (("X-Openstack-Append", "no"),))


def _query(of: dict[str, Values], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    pair = st.sampled_from(sorted(of)).flatmap(lambda name: st.tuples(st.just(name), of[name]))
    return st.lists(pair, max_size=most, unique_by=lambda drawn: drawn[0]).map(tuple)


def _at(namespace: str, rest: str = "") -> str:
    return f"/metadefs/namespaces/{segment(namespace)}{rest}"


def _about(method: str, rest: Values, document: Values | None = None) -> st.SearchStrategy[Call]:
    return st.builds(
        lambda namespace, rest, document: Call(method, _at(namespace, rest), document=document),
        _NAMESPACE,
        rest,
        st.none() if document is None else document,
    )


def _named(plural: str) -> Values:
    return mostly(_ONE_NAME, one("x y", _LONG + "n")).map(lambda name: f"/{plural}/{segment(name)}")


_KINDS = (("objects", _OBJECT), ("properties", _PROPERTY), ("tags", _TAG))
_MAKE = st.builds(
    lambda document: Call("POST", "/metadefs/namespaces", document=document),
    _namespace_of(one(*NAMESPACES)),
)
_CALLS = st.one_of(
    _MAKE,
    st.builds(lambda query: Call("GET", "/metadefs/namespaces", query), _query(_ORDER)),
    st.builds(
        lambda key, way, marker: Call(
            "GET",
            "/metadefs/namespaces",
            (("sort_key", key), ("sort_dir", way), ("limit", "1"), ("marker", marker)),
        ),
        one("created_at", "namespace", "visibility"),
        one("asc", "desc"),
        one(*NAMESPACES),
    ),
    st.builds(lambda name, query: Call("GET", _at(name), query), _NAMESPACE, _TYPED),
    st.builds(
        lambda name, document: Call("PUT", _at(name), document=document),
        _NAMESPACE,
        _namespace_of(_NAMESPACE),
    ),
    _about("DELETE", st.just("")),
    _about("DELETE", _BELOW.map(lambda plural: f"/{plural}")),
    _about("GET", _BELOW.map(lambda plural: f"/{plural}")),
    *(_about("POST", st.just(f"/{plural}"), given) for plural, given in _KINDS[:2]),
    *(_about("PUT", _named(plural), given) for plural, given in _KINDS),
    *(_about("GET", _named(plural)) for plural, _ in _KINDS),
    *(_about("DELETE", _named(plural)) for plural, _ in _KINDS),
    _about("POST", _named("tags")),
    st.builds(
        lambda name, document, headers: Call(
            "POST", _at(name, "/tags"), document=document, headers=headers
        ),
        _NAMESPACE,
        _TAGS,
        _APPENDED,
    ),
    st.builds(
        lambda name, query: Call("GET", _at(name, "/tags"), query), _NAMESPACE, _query(_TAG_ORDER)
    ),
    st.builds(
        lambda name, query: Call("GET", _at(name, "/objects"), query), _NAMESPACE, _query(_ORDER)
    ),
    st.builds(
        lambda name, rest, query: Call("GET", _at(name, rest), query),
        _NAMESPACE,
        one("/properties/pre_p", "/properties/p", "/properties/hw:p"),
        _TYPED,
    ),
    _about("POST", st.just("/resource_types"), _ASSOCIATION),
    _about(
        "DELETE",
        one("OS::Nova::Flavor", "OS::Glance::Image", "absent").map("/resource_types/".__add__),
    ),
    st.just(Call("GET", "/metadefs/resource_types")),
    one(
        Call("PATCH", "/metadefs/namespaces/two", document={}),
        Call("POST", "/metadefs/namespaces/two", document={}),
        Call("PUT", "/metadefs/namespaces/two/objects", document={}),
        Call("POST", "/metadefs/namespaces", body="{"),
        Call("POST", "/metadefs/namespaces", body="null"),
        Call("POST", "/metadefs/namespaces"),
        Call("GET", "/metadefs/namespaces/two", body=b"{}"),
        Call("GET", "/metadefs/namespaces", body=b"{}"),
        Call("GET", "/metadefs"),
        Call("GET", "/metadefs/x"),
    ),
)


@st.composite
def metadef_stories(draw: st.DrawFn, callers: int) -> Story:
    """Namespaces of the administrator, then anything: the administrator does most of it."""
    first = [
        Call("POST", "/metadefs/namespaces", document=draw(_namespace_of(st.just(name))))
        for name in NAMESPACES[: draw(st.integers(1, len(NAMESPACES)))]
    ]
    calls = draw(st.lists(_CALLS, min_size=CALLS_MIN, max_size=CALLS_MAX))
    who = mostly(st.just(0), st.integers(0, callers - 1))
    reads = st.integers(0, callers - 1)
    return (
        *first,
        *(replace(call, caller=draw(reads if call.method == "GET" else who)) for call in calls),
    )
