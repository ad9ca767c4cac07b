"""One call of the Images API, as it can be sent to any side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from harness.http import Answer, ask


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who calls: the header fields that say so, and the project."""

    headers: Mapping[str, str]
    project: str


@dataclass(frozen=True, slots=True)
class Side:
    """Whom a story is told: where it is, who calls, and what the names in a story stand for."""

    url: str
    callers: tuple[Caller, ...]
    names: Mapping[str, str]  # "{0}", "{1}", …: ids of images

    def named(self, text: str) -> str:
        """Put in what names stand for; "{p0}", "{p1}", … are the callers' projects."""
        for name, value in self.names.items():
            text = text.replace(name, value)
        for number, caller in enumerate(self.callers):
            text = text.replace(f"{{p{number}}}", caller.project)
        return text


@dataclass(frozen=True, slots=True)
class Call:
    """A request, with names in its path, query and document: `Side.named`."""

    method: str
    path: str  # below /v2, its variable parts escaped
    query: tuple[tuple[str, str], ...] = ()
    document: Any = None  # sent as JSON, where there is no body and the call may have one
    body: str | bytes | None = None
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()  # further fields
    caller: int = 0

    def __str__(self) -> str:
        query = f"?{urlencode(self.query)}" if self.query else ""
        sent = self._body()
        fields = " ".join(f"{name}: {value!r}" for name, value in self.headers)
        kind = "" if self.content_type is None else f"({self.content_type})"
        text = "" if sent is None else repr(sent[:300])
        return f"{self.caller}: {self.method} {self.path}{query} {fields} {text} {kind}"

    def send(self, side: Side) -> Answer:
        """Send it to a side."""
        named = [(name, side.named(value)) for name, value in self.query]
        query = f"?{urlencode(named)}" if named else ""
        headers = {"Accept": "application/json", **side.callers[self.caller].headers}
        if self.content_type is not None:
            headers["Content-Type"] = self.content_type
        headers.update(self.headers)
        body = self._body()
        return ask(
            self.method,
            f"{side.url}/v2{side.named(self.path)}{query}",
            headers=headers,
            body=side.named(body).encode() if isinstance(body, str) else body,
        )

    def _body(self) -> str | bytes | None:
        if self.body is not None:
            return self.body
        last = self.path.rpartition("/")[2]
        may_have = (
            *(self.method == "PATCH" or last in _WITH_DOCUMENT or "/members/" in self.path,),
            self.path.startswith("/metadefs/") and self.document is not None,
        )
        if self.method in {"POST", "PATCH", "PUT"} and any(may_have):
            return json.dumps(self.document)
        return None


_WITH_DOCUMENT = frozenset({"images", "members", "import"})


def segment(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="{}")
