"""The one list of intended differences between Glance's answers and the proxy's.

`PYTHONPATH=tests python -m harness.differences` writes docs/differences.md; the side-by-side tests
accept nothing that is not here, and see everything that is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cacheproxy.links import lists_versions
from harness.side_by_side import Contrast

PAGE = Path(__file__).parents[2] / "docs/differences.md"

_FILE = re.compile(r"/v2/images/[^/?]+/file(\?(prefer=[a-z,]+)?)?")

HEAD = """# Differences from Glance

The proxy's answers are Glance's, to the letter: status, reason, header fields and body.
The tests ask both, request by request, what Nova, Cinder, python-glanceclient, openstacksdk and `openstack image` ask (`tests/recordings/`), and much that nobody should, and compare what comes over the wire.
What is different on purpose is in this table, and nothing else; it is generated from the list that the tests use (`tests/harness/differences.py`).

*Cached data* is the answer to `GET` or `HEAD` of `/v2/images/{id}/file`, with `?prefer=` or without, for somebody who may download an image whose size Glance knows.

| what | Glance | the proxy | why |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """One row: what it is for people, and which contrasts it explains."""

    what: str
    glance: str
    proxy: str
    why: str
    covers: Callable[[Contrast], bool]


def _data(contrast: Contrast, *statuses: int) -> bool:
    """Whether image data was asked for, and the proxy answered so."""
    return (
        _FILE.fullmatch(contrast.asked.target) is not None
        and contrast.asked.method in ("GET", "HEAD")
        and contrast.reply.status in statuses
    )


def _own(contrast: Contrast) -> bool:
    """Whether the proxy answered by itself."""
    return contrast.reply.one("server") == "cacheproxy"


def _head_of_versions(contrast: Contrast) -> bool:
    return contrast.asked.method == "HEAD" and lists_versions(
        contrast.asked.target, contrast.direct.status
    )


def _sent(contrast: Contrast, name: str) -> bool:
    """Whether the request has this field."""
    return any(key == name for key, _ in contrast.asked.fields)


DIFFERENCES = (
    Difference(
        "`Connection` in any answer",
        "`keep-alive`, or `close`",
        "nothing while the connection stays, else `close`",
        "it is about one connection (RFC 9110 section 7.6.1), and there are two; in HTTP/1.1 it stays open unless it is said",
        lambda c: c.what == "Connection",
    ),
    Difference(
        "`Date` in any answer",
        "none in some of its errors",
        "always there",
        "RFC 9110 section 6.6.1 wants one of whoever relays",
        lambda c: c.what == "Date" and c.glance is None,
    ),
    Difference(
        "links in the list of versions (`/`, `/versions`, and wherever a path begins with no version), and `Location`",
        "on the `Host` that Glance was asked for, or on its `public_endpoint`",
        "on the `Host` that the proxy was asked for",
        "who follows them stays with the proxy; `HEAD` of a list has no `Content-Length`, which would be that of the other text",
        lambda c: c.what == "Content-Length" and c.proxy is None and _head_of_versions(c),
    ),
    Difference(
        "methods that are not in the IANA registry",
        "405",
        "400, the connection ends",
        "the proxy's parser knows the registered methods only; no client sends others",
        lambda c: c.asked.method == "FROBNICATE" and c.reply.status == 400,
    ),
    Difference(
        "`Server` in cached data, and in answers of the proxy's own",
        "the name of its WSGI server",
        "`cacheproxy`",
        "it says who answered; what passes through keeps Glance's",
        lambda c: c.what == "Server" and c.proxy == "cacheproxy",
    ),
    Difference(
        "`HEAD` of image data",
        "405",
        "200, with the fields of `GET`",
        "qemu and others ask for the size so",
        lambda c: c.asked.method == "HEAD" and _data(c, 200) and c.direct.status == 405,
    ),
    Difference(
        "`Accept-Ranges` in cached data",
        "none",
        "`bytes`",
        "ranges work whatever the store can do",
        lambda c: c.what == "Accept-Ranges" and c.proxy == "bytes" and _data(c, 200, 206, 304),
    ),
    Difference(
        "`ETag` in cached data",
        "none",
        "the image's id, once the bytes are proven to be those that Glance hashed",
        "a client can resume or validate; image data never changes under its id",
        lambda c: c.what == "ETag" and c.glance is None and _data(c, 200, 206, 304),
    ),
    Difference(
        "`If-None-Match` with that `ETag`, or `*`",
        "not looked at",
        "304",
        "RFC 9110 section 13.1.2",
        lambda c: _sent(c, "If-None-Match") and _data(c, 304),
    ),
    Difference(
        "`If-Range` with anything but that `ETag`, and any while the bytes are not proven",
        "not looked at",
        "the whole image, 200",
        "RFC 9110 section 13.1.5: a part must not be joined to bytes that may be others",
        lambda c: _sent(c, "If-Range") and _data(c, 200),
    ),
    Difference(
        "`Range` of an image on a store that cannot read ranges",
        "400",
        "206",
        "the cache can",
        lambda c: _sent(c, "Range") and _data(c, 206) and c.direct.status == 400,
    ),
    Difference(
        "`Range` that names no byte, also `bytes=-0`",
        "416 in its own words; the whole image for `bytes=-0`",
        "416 in the proxy's, with `Content-Range: bytes */SIZE`",
        "RFC 9110 section 14.4; nobody need be asked",
        lambda c: _sent(c, "Range") and _data(c, 416) and c.direct.status in (206, 400, 416),
    ),
    Difference(
        "`Range` with several ranges",
        "400 in its own words",
        "400 in the proxy's",
        "nobody need be asked",
        lambda c: _sent(c, "Range") and _data(c, 400) and _own(c) and c.direct.status == 400,
    ),
    Difference(
        "whatever is below `/cacheproxy/`",
        "the list of its versions, as for any path that it does not know",
        "signed URLs (`docs/signed-urls.md`), else 404; with `[signed_urls] enabled = false` only the latter",
        "it is the proxy's own, and a signature must not go on to Glance",
        lambda c: c.asked.target.startswith("/cacheproxy/") and _own(c) and c.reply.status == 404,
    ),
)


def explained(contrast: Contrast) -> Difference | None:
    """Return the row that a contrast belongs to."""
    return next((row for row in DIFFERENCES if row.covers(contrast)), None)


def page() -> str:
    """Return docs/differences.md."""
    rows = (f"| {row.what} | {row.glance} | {row.proxy} | {row.why} |\n" for row in DIFFERENCES)
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
