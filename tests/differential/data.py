"""Data of images: uploads, parts, where it is; and requests that are wrong as a whole."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from differential.call import Call
from differential.drawing import IMAGE, Values, mostly, one

V21 = "application/openstack-images-v2.1-json-patch"
OCTETS = "application/octet-stream"
_RANGES = mostly(
    one("bytes=0-", "bytes=1-2", "bytes=-2", "bytes=0-0", "bytes=2-100", "bytes=3-"),
    one("bytes=4-", "bytes=2-1", "bytes=-", "bytes=a-b", "1-2", "bytes=0-0,2-3", "", "items=0-1"),
)
_NONE = st.just(())


def _header(name: str, values: Values) -> Values:
    """Return header fields, mostly none."""
    return mostly(_NONE, values.map(lambda value: ((name, value),)))


_UPLOADS = st.builds(
    lambda image, body, kind, fields: Call(
        "PUT", f"/images/{image}/file", body=body, content_type=kind, headers=sum(fields, ())
    ),
    IMAGE,
    mostly(one(b"data", b"other data"), one(b"")),
    mostly(st.just(OCTETS), one("text/plain", "application/json", "")),
    st.tuples(
        _header("X-Image-Meta-Store", one("fast", "web", "nowhere", "")),
        _header("x-openstack-image-size", one("4", "10", "0", "x", "-1", "")),
    ),
)
_DOWNLOADS = st.builds(
    lambda image, fields, query: Call(
        "GET", f"/images/{image}/file", query, headers=sum(fields, ())
    ),
    IMAGE,
    st.tuples(
        one((), (1,)).flatmap(
            lambda some: _RANGES.map(lambda value: (("Range", value),)) if some else _NONE
        ),
        _header("Content-Range", one("bytes 0-1/4", "bytes 1-2/*", "x")),
    ),
    mostly(_NONE, one("fast", "web,fast", "nowhere", "").map(lambda names: (("prefer", names),))),
)
_STORES = st.builds(
    lambda store, image: Call("DELETE", f"/stores/{store}/{image}"),
    mostly(one("fast", "web"), one("nowhere", "os_glance_staging_store")),
    IMAGE,
)
_PLACES = mostly(
    one("{web}/small.img", "{web}/small.qcow2"),
    one(
        "{web}/nothing", "file:///etc/passwd", "x", "", "http://127.0.0.1:1/x", "swift+config://a/b"
    ),
)
_LOCATION = mostly(
    st.builds(
        lambda url, metadata: {"url": url, "metadata": metadata},
        _PLACES,
        mostly(one({"store": "web"}, {}), one({"store": "nowhere"}, {"a": 1}, None, "x")),
    ),
    one({}, None, "x", {"url": "{web}/small.img"}, {"metadata": {}}),
)
_LOCATION_CHANGES = st.one_of(
    st.builds(
        lambda path, value: {"op": "add", "path": path, "value": value},
        mostly(
            st.just("/locations/-"),
            one("/locations/0", "/locations/9", "/locations", "/locations/x"),
        ),
        _LOCATION,
    ),
    st.builds(
        lambda value: {"op": "replace", "path": "/locations", "value": value},
        mostly(st.lists(_LOCATION, max_size=2), one(None, "x", {})),
    ),
    one("/locations/0", "/locations/1", "/locations/x", "/locations").map(
        lambda path: {"op": "remove", "path": path}
    ),
)
_LOCATIONS = st.builds(
    lambda image, changes: Call("PATCH", f"/images/{image}", document=changes, content_type=V21),
    IMAGE,
    st.lists(_LOCATION_CHANGES, min_size=1, max_size=2),
)

_STAGES = st.builds(
    lambda image, body, kind: Call("PUT", f"/images/{image}/stage", body=body, content_type=kind),
    IMAGE,
    mostly(one(b"data", b"other data"), one(b"")),
    mostly(st.just(OCTETS), one("text/plain", "")),
)
_METHODS = mostly(
    one(
        {"name": "glance-direct"},
        {"name": "web-download", "uri": "{web}/small.img"},
        {"name": "copy-image"},
    ),
    one({"name": "web-download"}, {"name": "no-method"}, {}, None, "x", {"name": None}),
)
_WHERE = mostly(
    st.just({}),
    one(
        {"stores": ["fast"]},
        {"stores": ["web"]},
        {"stores": ["nowhere"]},
        {"stores": []},
        {"stores": "fast"},
        {"all_stores": True},
        {"all_stores": "x"},
        {"all_stores": True, "stores": ["fast"]},
        {"stores": ["fast"], "all_stores_must_succeed": False},
    ),
)
_IMPORTS = st.builds(
    lambda image, method, where: Call(
        "POST", f"/images/{image}/import", document={"method": method, **where}
    ),
    IMAGE,
    _METHODS,
    _WHERE,
)

_TEXTS: tuple[str | bytes, ...] = (
    *("", "{", b"\xff", b'{"id": "{0}", "name": "\xff"}', "[" * 100_000, "null", "0", "\ufeff{}"),
    *('{"id": "{0}", "name": NaN}', '{"id": "{0}", "name": 1e400}', '{"id": "{0}"} {}'),
    *('{"id": "{0}", "name": "a", "name": "b"}', '{"id": "{0}", "name": "\\u0000"}'),
    *('{"id": "{0}", "name": "\\ud800"}', '{"id": "{0}", "name": "\N{GRINNING FACE}"}'),
    *('{"id": "{0}", "min_disk": 1e0}', '{"id": "{0}", "min_ram": 12345678901234567890}'),
    *('{"id": "{0}", "n\\u0000": "x"}', '{"id": "{0}", "k": "\\u0000"}'),
    *('{"id": "{0}", "tags": ["\\u0000"]}', '{"id": "{0}", "tags": {}}'),
)
_KINDS = one("application/json", "text/plain", "application/x-www-form-urlencoded", V21, "")
_BROKEN = st.one_of(
    st.builds(
        lambda body, kind: Call("POST", "/images", body=body, content_type=kind),
        one(*_TEXTS),
        _KINDS,
    ),
    st.builds(
        lambda image, body, kind: Call("PATCH", f"/images/{image}", body=body, content_type=kind),
        IMAGE,
        one(*_TEXTS, '[{"op": "add", "path": "/k", "value": "\\u0000"}]'),
        _KINDS,
    ),
    st.builds(
        lambda image, path, body, kind: Call(
            "POST" if path == "/members" else "PUT",
            f"/images/{image}{path}",
            body=body,
            content_type=kind,
        ),
        IMAGE,
        one("/members", "/members/{p1}"),
        one(*_TEXTS),
        _KINDS,
    ),
    # A body where none belongs.
    st.builds(
        lambda method, path: Call(method, path, body=b"{}", content_type="application/json"),
        one("GET", "DELETE"),
        one("/images/{0}", "/images/{0}/members", "/images/{0}/file", "/images", "/schemas/image"),
    ),
)
_WRONG = {
    "POST": ("", "/file", "/members/{p0}", "/tags/a", "/x"),
    "PUT": ("", "/members", "/actions/deactivate", "/x"),
    "DELETE": ("/file", "/members", "/actions/deactivate"),
    "PATCH": ("/file", "/members", "/tags/a"),
}
_WRONG_METHODS = st.sampled_from(
    [(method, path) for method, paths in _WRONG.items() for path in paths]
).flatmap(
    lambda drawn: IMAGE.map(lambda image: Call(drawn[0], f"/images/{image}{drawn[1]}", body=b""))
)
_ABILITIES = one("/info/stores", "/x").map(lambda path: Call("GET", path))


def data_calls() -> st.SearchStrategy[Call]:
    """Calls of all these kinds, data more often than what is wrong."""
    kinds: tuple[st.SearchStrategy[Any], ...] = (
        *(_UPLOADS, _UPLOADS, _DOWNLOADS, _DOWNLOADS, _STORES, _LOCATIONS, _LOCATIONS),
        *(_STAGES, _STAGES, _IMPORTS, _IMPORTS),
        *(_BROKEN, _WRONG_METHODS, _ABILITIES),
    )
    return st.one_of(*kinds)
