"""Glance's list of versions, as it is when there is an image cache.  Pure.

Clients look there before they call the cache's interface (glanceclient: v2.14 for most of it, v2.18
for the rest), and Glance lists these versions only where it has a cache of its own.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

CACHE_VERSIONS = ("v2.14", "v2.16", "v2.18")

_NUMBERED = re.compile(r"v(\d+)\.(\d+)", re.ASCII)


class _Versions(msgspec.Struct):
    versions: list[dict[str, Any]]


def with_cache(document: bytes) -> bytes:
    """Return a list of versions with those of the cache; as it is, if it has them or is none."""
    try:
        listed = msgspec.json.decode(document, type=_Versions).versions
    except msgspec.DecodeError:
        return document
    known = {str(version.get("id")): version for version in listed}
    missing = [name for name in CACHE_VERSIONS if name not in known]
    if not (known and missing and all(map(_NUMBERED.fullmatch, known))):
        return document
    for name in missing:
        known[name] = {**listed[0], "id": name}
    newest_first = sorted(known, key=_number, reverse=True)
    for name, version in known.items():
        version["status"] = "CURRENT" if name == newest_first[0] else "SUPPORTED"
    return msgspec.json.encode({"versions": [known[name] for name in newest_first]})


def _number(name: str) -> tuple[int, ...]:
    match = _NUMBERED.fullmatch(name)
    assert match is not None
    return tuple(map(int, match.groups()))
