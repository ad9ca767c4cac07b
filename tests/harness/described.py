"""Holds what the catalog answers to what its description promises."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from registry.web.openapi.document import statuses_of
from registry.web.openapi.operations import OPERATIONS


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"{\w+}", path.removeprefix("/v2"))
    version = r"/v2(\.\d+)?" if path.startswith("/v2") else ""
    return re.compile(version + "[^/]+".join(map(re.escape, parts)))


_STATUSES = [(_pattern(each.path), each.method, statuses_of(each)) for each in OPERATIONS]


def require_described(method: str, url: str, status: int) -> None:
    """Fail where a call that is described is answered by a status that is not.

    What no call is (another method, an unknown path) is answered by 404, 405 or the versions.
    """
    path = urlsplit(url).path
    found = [(known, statuses) for pattern, known, statuses in _STATUSES if pattern.fullmatch(path)]
    for known, statuses in found:
        if known == method:
            assert status in statuses, f"{method} {path} answered {status}, which is not described"
