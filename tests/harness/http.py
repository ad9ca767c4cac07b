"""A plain HTTP client for arranging and looking: one request, one answer, nothing hidden."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are in lower case, the last of several of one name counts."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, which must be JSON."""
        return json.loads(self.body)

    def expect(self, *statuses: int) -> Answer:
        """Return this answer if it has one of these statuses; fail otherwise."""
        assert self.status in statuses, f"{self.status}: {self.body[:500]!r}"
        return self


def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | Iterable[bytes] | None = None,
    document: Any = None,
    seconds: float = TIMEOUT_SECONDS,
) -> Answer:
    """Send one request on a connection of its own; `document` is sent as JSON.

    `seconds` is the longest silence.  Behind https is whom the environment's `SSL_CERT_FILE` trusts.
    """
    parts = urlsplit(url)
    sent = dict(headers or {})
    if document is not None:
        body = json.dumps(document).encode()
        sent.setdefault("Content-Type", "application/json")
    connection = connected(url, seconds)
    try:
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, target, body=body, headers=sent)
        answer = connection.getresponse()
        with answer:
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def connected(url: str, seconds: float = TIMEOUT_SECONDS) -> http.client.HTTPConnection:
    """Return a connection to the server of a URL, which it opens with its first request."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=seconds)
