"""Requests that few clients send, in the form of a recording: errors, odd paths, ranges, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator

from harness.recorder import Asked

JSON = "Content-Type: application/json"
DATA = "Content-Type: application/octet-stream"
PATCH = "Content-Type: application/openstack-images-v2.1-json-patch"
CHUNKED = "Transfer-Encoding: chunked"
RAW = {"disk_format": "raw", "container_format": "bare"}
SIZE = 150_000  # of `<files>/located` as well
REFUSED_BYTES = 3_000_000  # more than any buffer on the way
MISSING = "/v2/images/00000000-0000-4000-8000-000000000000"
IMAGE = "/v2/images/<new-1>"  # on a store that reads ranges
PLACED = "/v2/images/<new-2>"  # on one that does not
QUEUED = "/v2/images/<new-3>"
SHARED = "/v2/images/<new-4>"


def ask(
    method: str,
    target: str,
    *lines: str,
    by: str | None = "<member>",
    body: str | int | None = None,
) -> Asked:
    """Write down a request with these header lines."""
    fields = [("Host", "<host>")]
    if by is not None:
        fields.append(("X-Auth-Token", by))
    fields += [(name, value.lstrip()) for name, _, value in (line.partition(":") for line in lines)]
    if body is not None and CHUNKED not in lines:
        fields.append(("Content-Length", "<length>"))
    return Asked(method, target, tuple(fields), body, 0)


def create(**properties: object) -> Asked:
    """Create an image."""
    return ask("POST", "/v2/images", JSON, body=json.dumps({"name": "odd", **RAW, **properties}))


def patch(target: str, kind: str, *changes: object) -> Asked:
    """Change an image."""
    return ask("PATCH", target, kind, body=json.dumps(changes))


def conversation() -> Iterator[Asked]:
    """Give all of them, in order."""
    yield from _images()
    yield from _versions()
    yield from _paths()
    yield from _callers()
    yield from _ranges()
    yield from _refusals()
    yield from _ends()


def _images() -> Iterator[Asked]:
    yield create()
    yield ask("PUT", f"{IMAGE}/file", DATA, CHUNKED, body=SIZE)
    yield create()
    location = {"url": "<files>/located", "metadata": {"store": "web"}}
    yield patch(PLACED, PATCH, {"op": "add", "path": "/locations/-", "value": location})
    yield create()
    yield create()


def _versions() -> Iterator[Asked]:
    for target in (
        "/",
        "//",
        "/?a=b",
        "/versions",
        "/versions/",
        "/versions/more",
        "/v2",
        "/v2/",
        "/v1/images",
        "/v2.9/images?limit=1",
        "/v2.99/images",
        "/nothing",
        "/images",
    ):
        yield ask("GET", target)
        yield ask("HEAD", target)
    yield ask("GET", "/images?limit=1", "Accept: application/vnd.openstack.images-v2")
    yield ask("GET", "/", by=None)
    yield ask("POST", "/", JSON, body="{}")
    yield ask("GET", "/healthcheck", by=None)
    yield ask("GET", "/healthcheck", "Accept: application/json", by=None)


def _paths() -> Iterator[Asked]:
    for target in (
        "/v2/images/",
        "/v2//images",
        "//v2/images",
        "/v2/images?",
        "/v2/images?limit=0",
        "/v2/images?limit=x",
        "/v2/images?limit=1&limit=2",
        "/v2/images?marker=none",
        "/v2/images?name=%C3%A4%2B+b&x=%zz",
        "/v2/images/no-such-image",
        "/v2/images/%2e%2e/images",
        "/v2/images/../images",
        "/v2/images/a%2Fb/file",
        "/v2/images/%E4/file",
        "/v2/images/a;b/file",
        "/v2/images/" + "a" * 300 + "/file",
        f"{MISSING}/file",
        f"{MISSING}/members",
        f"{IMAGE}/",
        f"{IMAGE}//file",
        f"{IMAGE}/file/",
        f"{IMAGE}/file?",
        f"{IMAGE}/file?a=b",
        f"{IMAGE}/file?prefer=slow,fast",
        f"{IMAGE}/file?prefer=none",
        f"{IMAGE}/nothing",
        f"{QUEUED}/file",
        "/v2/schemas/nothing",
        "/v2/cache",
        "/v2/images/<new-1>/file#x",
        "/cacheproxy/v1/images/<new-1>/file?grant=1",
    ):
        yield ask("GET", target)
    for method, target in (
        ("OPTIONS", "/v2/images"),
        ("HEAD", "/v2/images"),
        ("HEAD", IMAGE),
        ("HEAD", f"{MISSING}/file"),
        ("HEAD", f"{IMAGE}/file"),
        ("HEAD", f"{QUEUED}/file"),
        ("OPTIONS", f"{IMAGE}/file"),
        ("PUT", "/v2/images"),
        ("DELETE", "/v2/images"),
        ("POST", f"{IMAGE}/file"),
        ("DELETE", f"{IMAGE}/file"),
        ("FROBNICATE", IMAGE),
    ):
        yield ask(method, target)


def _callers() -> Iterator[Asked]:
    for by in (None, "", "nobody's", "<reader>", "<stranger>", "<admin>", "<glance>"):
        for target in ("/v2/images?limit=1", IMAGE, f"{IMAGE}/file", f"{MISSING}/file"):
            yield ask("GET", target, by=by)
        yield ask("HEAD", f"{IMAGE}/file", by=by)
    for token in ("<glance>", "nobody's", "<member>"):
        yield ask("GET", f"{IMAGE}/file", f"X-Service-Token: {token}")
        yield ask("GET", f"{IMAGE}/file", f"X-Service-Token: {token}", by="nobody's")
    yield ask("GET", IMAGE, "x-auth-token: <stranger>")  # a second one
    yield ask("GET", f"{IMAGE}/file", "x-auth-token: <stranger>")
    yield ask("GET", f"{IMAGE}/file", "X-Identity-Status: Confirmed", "X-Roles: admin", by=None)
    yield ask("GET", f"{IMAGE}/file", DATA, "Accept: application/json")
    yield ask("GET", f"{IMAGE}/file", "Accept-Encoding: gzip, deflate", "TE: trailers")
    yield ask("GET", f"{IMAGE}/file", "X-OpenStack-Request-ID: req-" + "0" * 30)
    yield ask("GET", f"{IMAGE}/file", "X-OpenStack-Request-ID: req-" + "0" * 300)
    yield ask(
        "GET", IMAGE, "Accept: text/plain", "Accept-Language: de", "x-odd:   a  b", "X-Odd: c"
    )
    yield ask("GET", MISSING, "Accept: application/json")
    yield ask("GET", f"{MISSING}/file", "Accept: application/json")
    yield ask("GET", f"{MISSING}/file", "Accept: text/html")


def _ranges() -> Iterator[Asked]:
    for target in (f"{IMAGE}/file", f"{PLACED}/file", f"{QUEUED}/file"):
        for wanted in (
            "bytes=0-9",
            "bytes=-5",
            "bytes=0-",
            f"bytes=149990-{SIZE + 5}",
            "bytes=100-99",
            f"bytes={SIZE}-",
            "bytes=-0",
            "bytes=a-b",
            "bytes=",
            "bytes=0-1,5-6",
            "Bytes=0-1",
            "items=0-1",
            "bytes = 0 - 1",
        ):
            yield ask("GET", target, f"Range: {wanted}")
        yield ask("GET", target, "Range: bytes=0-1", "Range: bytes=5-6")
        yield ask("GET", target, "Content-Range: bytes 0-9/*")
        yield ask("GET", target, "Range: bytes=0-9", "If-Range: Mon, 01 Jan 2001 00:00:00 GMT")
        yield ask("GET", target, "Range: bytes=0-9", 'If-Range: "<new-1>"')
        yield ask("GET", target, 'If-None-Match: "<new-1>"')
        yield ask("GET", target, "If-None-Match: *")
        yield ask("GET", target, "If-Modified-Since: Mon, 01 Jan 2035 00:00:00 GMT")
        yield ask("HEAD", target, "Range: bytes=0-9")
    yield ask("GET", f"{IMAGE}/file", "Range: bytes=0-9", by="<reader>")
    yield ask("GET", f"{IMAGE}/file", "Range: bytes=a-b", by="<stranger>")
    yield ask("GET", f"{IMAGE}/file", "Range: bytes=0-1,5-6", by="nobody's")


def _refusals() -> Iterator[Asked]:
    yield ask("POST", "/v2/images", JSON, body="{")
    yield ask("POST", "/v2/images", JSON, body="[]")
    yield ask("POST", "/v2/images", JSON, body="\x00ä")
    yield ask("POST", "/v2/images", "Content-Type: text/plain", body="{}")
    yield ask("POST", "/v2/images", JSON)
    yield create(status="active")
    yield create(visibility="public")
    yield create(**{f"p{number}": "x" for number in range(200)})
    yield ask("GET", IMAGE, JSON, body="{}")
    yield ask("GET", f"{IMAGE}/file", DATA, body=10)
    yield ask("PATCH", IMAGE, JSON, body="[]")
    yield patch(IMAGE, "Content-Type: application/openstack-images-v2.0-json-patch")
    yield patch(IMAGE, PATCH, {"op": "replace", "path": "/a/b", "value": "c"})
    yield patch(IMAGE, PATCH, {"op": "replace", "path": "/status", "value": "queued"})
    yield patch(IMAGE, PATCH, {"op": "remove", "path": "/nothing"})
    yield patch(MISSING, PATCH, {"op": "add", "path": "/a", "value": "b"})
    for target in (IMAGE, MISSING):
        for lines in ((DATA,), (DATA, CHUNKED), ("Content-Type: text/plain",), ()):
            yield ask("PUT", f"{target}/file", *lines, body=REFUSED_BYTES)
        yield ask("PUT", f"{target}/file", DATA, body=SIZE, by="nobody's")
        yield ask("PUT", f"{target}/file", DATA, CHUNKED, body=SIZE, by="<stranger>")
    yield ask("PUT", f"{QUEUED}/file", DATA, "X-Image-Meta-Store: none", body=SIZE)
    yield ask("PUT", f"{QUEUED}/file", DATA, "x-openstack-image-size: 5", body=SIZE)
    yield ask("PUT", f"{SHARED}/file", DATA, "X-Image-Meta-Store: slow", body=SIZE)
    yield ask("POST", f"{IMAGE}/import", JSON, body='{"method": {"name": "glance-direct"}}')
    yield ask("POST", f"{IMAGE}/members", JSON, body='{"member": "<project-of-stranger>"}')


def _ends() -> Iterator[Asked]:
    share = '{"member": "<project-of-stranger>"}'
    yield ask("POST", f"{SHARED}/members", JSON, body=share)
    yield ask("POST", f"{SHARED}/members", JSON, body=share)
    yield ask("GET", f"{SHARED}/file", by="<stranger>")
    yield ask("DELETE", f"{SHARED}/members/<project-of-stranger>")
    yield ask("GET", f"{SHARED}/file", by="<stranger>")
    yield patch(SHARED, PATCH, {"op": "replace", "path": "/protected", "value": True})
    yield ask("DELETE", SHARED)
    yield ask("POST", f"{IMAGE}/actions/deactivate")
    for by in ("<member>", "<stranger>", "<admin>"):
        yield ask("GET", f"{IMAGE}/file", by=by)
        yield ask("GET", f"{IMAGE}/file", "Range: bytes=0-9", by=by)
        yield ask("HEAD", f"{IMAGE}/file", by=by)
    yield ask("POST", f"{IMAGE}/actions/reactivate")
    yield ask("GET", f"{IMAGE}/file")
    yield ask("DELETE", IMAGE, by="<reader>")
    yield ask("DELETE", IMAGE, by="<stranger>")
    yield ask("DELETE", IMAGE)
    yield ask("DELETE", IMAGE)
    yield ask("GET", f"{IMAGE}/file")
    yield ask("GET", f"{IMAGE}/file", by="<admin>")
    yield ask("HEAD", f"{IMAGE}/file")
