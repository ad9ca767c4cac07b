"""Fixed stories of what few clients send, and no drawn story does.  The callers are `test_like_glance.USERS`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from differential.call import Call
from differential.data import OCTETS, V21
from differential.stories import Story

_ADMIN, _MEMBER, _STRANGER, _READER = range(4)
_IMAGE = {"id": "{0}", "name": "odd", "disk_format": "raw", "container_format": "bare"}
_NEW = Call("POST", "/images", document=_IMAGE, caller=_MEMBER)
_UPLOAD = Call("PUT", "/images/{0}/file", body=b"0123456789", content_type=OCTETS, caller=_MEMBER)
_TIMES = (
    *("2001", "2001-01", "2001-1-2", "2001-123", "200101", "20010101", "2001-01-01 00:00:00"),
    *("2001-01-01t00:00:00", "2001-01-01T00:00:00z", "2001-01-01T00", "2001-01-01T00:00:0"),
    *("2001-W01-1", "2001-01-01T00:00:00+00:00:00", "2001-01-01T00:00:00+24:00", "2001-02-29"),
    *("2001-01-01T00:00:00,5-0230", "2001-01-01T24:00:00", "2001-01-01T00:00:60", "2001-01-01Z"),
    "2001-01-01T00:00:00 01:00",
)
_RANGES = (
    *("bytes=-0", "bytes=0-b", "bytes=1-2-3", "bytes=0-+1", "bytes=0-1;q=1", "bytes=+0-1"),
    *("bytes=10-", "bytes=", "", "Bytes=0-1", "bytes = 0-1", "bytes= 0-1", "bytes=0-1,"),
    *("bytes=00-01", "bytes=-99", f"bytes=0-{'9' * 20}", "bytes=1-0", "items=0-1"),
)
_CONTENT_RANGES = ("bytes 0-4/10", "bytes */10", "bytes 0-4/5", "bytes 9-0/10", "Bytes 0-4/10", "")
_TOLD_TYPES = (V21.upper(), OCTETS.title(), f"{V21};", f"{OCTETS}; charset=utf-8", "*/*", "")
_QUERIES = (
    *("name=%ff", "%ff=a", "name=%00", "name=a;b", "=", "&", "a", "a=b=c", "name=%zz", "a=+"),
    *("k=%F0%9F%98%80", "limit=%D9%A3", "limit=1_0"),
)
_TWICE = (("sort", ("name", "id")), ("visibility", ("public", "private")), ("k", ("a", "b")))
_METHODS = ("OPTIONS", "TRACE", "LOCK", "PROPFIND", "PATCH")
_PATHS = (
    *("/nothing", "/images", "/images/{0}", "/images/{0}/file", "/images/{0}/nothing", "/schemas"),
    *("/images/{0}/tasks", "/images/{0}/locations", "/tasks", "/cache", "/info/stores", "/"),
)
_BODIES = ("", "{", "null", "0", '"x"', "[]", "{}")
_MEMBERS = ("a/b", "ü", "{", "x" * 255)


def oddities() -> Iterator[Story]:
    """Give all of them."""
    yield tuple(_deactivated())
    yield (_NEW, *(Call("GET", "/images", (("created_at", f"gt:{time}"),)) for time in _TIMES))
    yield (_NEW, *(Call("GET", f"/images?{query}", caller=_MEMBER) for query in _QUERIES))
    yield (_NEW, Call("GET", "/images", (("size", "9" * 25),)))
    for name, values in _TWICE:
        query = tuple((name, value) for value in values)
        yield (_NEW, Call("GET", "/images", query, caller=_MEMBER))
    yield (_NEW, _UPLOAD, *(_download("Range", told) for told in _RANGES))
    yield (_NEW, _UPLOAD, *(_download("Content-Range", told) for told in _CONTENT_RANGES))
    for method in _METHODS:
        for path in _PATHS:
            yield (_NEW, Call(method, path, body="" if method == "PATCH" else None))
    for caller in (_ADMIN, _MEMBER, _READER):
        for body in _BODIES:
            yield tuple(_with_body(body, caller))
    for told in _TOLD_TYPES:
        yield tuple(_typed(told))
    for member in _MEMBERS:
        path = f"/images/{{0}}/members/{quote(member, safe='')}"
        added = Call("POST", "/images/{0}/members", document={"member": member}, caller=_MEMBER)
        yield (_NEW, added, Call("GET", path, caller=_MEMBER), Call("DELETE", path, caller=_MEMBER))
    yield (_NEW, Call("GET", "/images/{0}%2Ffile"), Call("POST", "/images/{x}", body=""))
    yield (_NEW, _UPLOAD, Call("HEAD", "/images/{0}/file"))
    staged = (("X-Image-Meta-Store", "os_glance_staging_store"),)
    yield (_NEW, Call("PUT", "/images/{0}/file", body=b"x", content_type=OCTETS, headers=staged))
    for url in ("{web}/nothing", "HTTP://127.0.0.1:1/x"):
        yield (_NEW, Call("POST", "/images/{0}/locations", body=f'{{"url": "{url}"}}'))
    yield from _imports()
    yield (Call("POST", "/tasks", body='{"type": "api_image_import", "input": {}}'),)
    for token in ({}, {"X-Auth-Token": "x"}):
        headers = (("X-OpenStack-Request-ID", "x" * 300), *token.items())
        yield (Call("GET", "/images", headers=headers),)


def _deactivated() -> Iterator[Call]:
    """Who may not have the data of an image does not learn where they are."""
    yield _NEW
    yield _UPLOAD
    for action in ("deactivate", "reactivate"):
        yield Call("POST", f"/images/{{0}}/actions/{action}", caller=_ADMIN)
        for caller in range(4):
            for path in ("/images/{0}", "/images/{0}/locations", "/images/{0}/file", "/images"):
                yield Call("GET", path, caller=caller)
        yield Call("PATCH", "/images/{0}", document=[], content_type=V21, caller=_MEMBER)


def _imports() -> Iterator[Story]:
    """Stores of imports, as bodies and a header name them."""
    method = {"name": "web-download", "uri": "{web}/small.img"}
    named: tuple[Any, ...] = ("fast", {}, [None], [""], ["fast", "web"], ["nowhere"])
    for stores in named:
        asked = Call("POST", "/images/{0}/import", document={"method": method, "stores": stores})
        yield (_NEW, replace(asked, caller=_MEMBER), Call("GET", "/images/{0}", caller=_MEMBER))
    for store in ("", "nowhere", "fast"):
        headers = (("X-Image-Meta-Store", store),)
        asked = Call("POST", "/images/{0}/import", document={"method": method}, headers=headers)
        yield (_NEW, replace(asked, caller=_MEMBER), Call("GET", "/images/{0}", caller=_MEMBER))


def _download(name: str, value: str) -> Call:
    return Call("GET", "/images/{0}/file", headers=((name, value),), caller=_MEMBER)


def _with_body(body: str, caller: int) -> Iterator[Call]:
    """Bodies where none is looked for first."""
    yield Call("GET", "/tasks", (("status", "processing"),), body=body, caller=caller)
    yield Call("POST", "/tasks", body=body, content_type="application/json", caller=caller)
    yield Call("DELETE", "/tasks/{absent}", body=body, caller=caller)


def _typed(told: str) -> Iterator[Call]:
    yield _NEW
    for body in ("[]", "x"):
        yield Call("PATCH", "/images/{0}", body=body, content_type=told, caller=_MEMBER)
    yield Call("PUT", "/images/{0}/stage", body=b"x", content_type=told, caller=_MEMBER)
    yield Call("PUT", "/images/{0}/file", body=b"x", content_type=told, caller=_MEMBER)
