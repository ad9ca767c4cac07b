"""Links in answers, pointed to where the client came from.  Pure.

Glance writes absolute URLs in two places, from the `Host` that it was asked for, which is the
upstream's: `Location`, and its list of versions, which it also answers wherever a path begins with
no version (300).  Its other links are paths.

A base is a URL without a slash at its end: `http://127.0.0.1:9292`, `https://glance.example/image`.
"""

from __future__ import annotations

import re

import msgspec

VERSIONS_BYTES_MAX = 64 << 10  # the longest list of versions; Glance 33 sends 3 KiB

_URL = re.compile(r"https?://([^/?#]*)(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_TO_A_VERSION = re.compile(r"https?://[^?#]*(/v[0-9][0-9.]*/?)", re.ASCII | re.IGNORECASE)


class _Link(msgspec.Struct):
    href: str


class _Version(msgspec.Struct):
    links: list[_Link]


class _Versions(msgspec.Struct):
    versions: list[_Version]


def location(value: str, upstream: str, client: str) -> str:
    """Return a `Location` on the client's base if it is on the upstream's, else as it is.

    The scheme does not count: a Glance behind an end of TLS believes in http.  Nor does a path
    of the upstream's base have to be there: who leads requests to Glance by path takes it away.
    """
    found, base = _URL.fullmatch(value), _URL.fullmatch(upstream)
    if found is None or base is None or _host(found[1]) != _host(base[1]):
        return value
    path = found[2]
    if path.startswith(f"{base[2]}/"):
        path = path.removeprefix(base[2])
    return client + path


def lists_versions(target: str, status: int) -> bool:
    """Whether the answer to this path and query is Glance's list of versions."""
    path = target.partition("?")[0]
    return status == 300 or (status == 200 and path.strip("/").split("/")[0] == "versions")


def versions(document: bytes, client: str) -> bytes:
    """Return a list of versions whose links begin with the client's base.

    Whatever base they have, also an operator's `public_endpoint`: each names a version of the very
    service that was asked (keystoneauth believes no more of them either).  All other bytes stay,
    and all of a document that is no list of versions.
    """
    try:
        listed = msgspec.json.decode(document, type=_Versions)
    except msgspec.DecodeError:
        return document
    for href in {link.href for version in listed.versions for link in version.links}:
        if match := _TO_A_VERSION.fullmatch(href):
            written, meant = msgspec.json.encode(href), msgspec.json.encode(client + match[1])
            document = document.replace(written, meant)
    return document


def _host(authority: str) -> str:
    """Return host and port as they are compared: without credentials and default ports."""
    host = authority.rpartition("@")[2].lower()
    return host.removesuffix(":80").removesuffix(":443")
