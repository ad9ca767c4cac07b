"""Tells Glance and the catalog stories of metadata definitions, and compares what they answer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from differential.call import Call, Caller, Side, segment
from differential.metadefs import RESOURCE_TYPES
from differential.sides import comparable as plain
from differential.stories import Story
from harness.http import Answer

NAME_LENGTH_MAX = 80


@dataclass(frozen=True, slots=True)
class Difference:
    """What the catalog answers otherwise, and why; a story ends there, but for what is only read."""

    what: str
    why: str
    covers: Callable[[Call, Answer, Answer], bool]  # the call, Glance's answer, ours


def _glance_failed(_call: Call, theirs: Answer, ours: Answer) -> bool:
    return theirs.status == 500 and ours.status < 500


def _hidden_marker(call: Call, theirs: Answer, ours: Answer) -> bool:
    marked = any(name == "marker" for name, _ in call.query)
    return marked and (theirs.status, ours.status) == (403, 404)


def _too_long(call: Call, theirs: Answer, ours: Answer) -> bool:
    sent = json.dumps(call.document)
    return theirs.status != 400 and ours.status == 400 and "n" * (NAME_LENGTH_MAX + 1) in sent


def _half_made(call: Call, theirs: Answer, ours: Answer) -> bool:
    """Tell whether Glance refuses a namespace that it has made, and cannot unmake."""
    return (
        (call.method, call.path) == ("POST", "/metadefs/namespaces")
        and theirs.status == ours.status
        and theirs.status in {400, 409}
    )


def _kept_for_nobody(call: Call, theirs: Answer, ours: Answer) -> bool:
    """Tell whether a part of a namespace says when it was made."""
    sent = json.dumps(call.document)
    return theirs.status < 400 and ours.status == 400 and '"created_at"' in sent


DIFFERENCES = (
    Difference(
        "Glance fails (500), the catalog answers",
        "whatever is asked, it is no failure of the server: what cannot be kept is refused (400)",
        _glance_failed,
    ),
    Difference(
        "a marker that the caller does not see is not there (404)",
        "Glance's 403 tells that there is such a namespace",
        _hidden_marker,
    ),
    Difference(
        "names and prefixes have 80 characters at most, wherever they are told (400)",
        "Glance leaves some to its database: SQLite keeps them, others fail",
        _too_long,
    ),
    Difference(
        "what a new namespace has may not say when it was made or changed (400)",
        "Glance repeats it in its answer, and keeps its own time",
        _kept_for_nobody,
    ),
)


@dataclass(slots=True)
class MetadefSides:
    """Both, without a namespace between two stories.  The first caller may do anything."""

    glance: str
    ours: str
    callers: tuple[Caller, ...]
    stories: int = 0
    calls: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    succeeded: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Make the resource types that stories name: they stay, also where one side refuses more."""
        known = [{"name": name} for name in RESOURCE_TYPES]
        for url in (self.glance, self.ours):
            side = Side(url, self.callers, {})
            document = {"namespace": "first", "resource_type_associations": known}
            Call("POST", "/metadefs/namespaces", document=document).send(side).expect(201)
            Call("DELETE", "/metadefs/namespaces/first").send(side).expect(204)

    def tell(self, story: Story) -> None:
        """Tell both a story; AssertionError says where their answers part."""
        self.stories += 1
        sides = [Side(url, self.callers, {}) for url in (self.glance, self.ours)]
        told = ""
        try:
            for call in story:
                self.calls += 1
                told += f"\n  {call}"
                theirs, ours = (call.send(side) for side in sides)
                seen, wanted = comparable(ours), comparable(theirs)
                if seen == wanted:
                    if theirs.status < 300:
                        self.succeeded[f"{call.method} {call.path.split('/')[-1][:12]}"] += 1
                    if _half_made(call, theirs, ours) and _left(sides[0], call):
                        self.explained["Glance leaves a half of a namespace"] += 1
                        break
                    continue
                difference = next(
                    (each for each in DIFFERENCES if each.covers(call, theirs, ours)), None
                )
                if difference is None:
                    message = f"{told}\nGlance: {wanted}\nours:   {seen}"
                    raise AssertionError(message)
                self.explained[difference.what] += 1
                if call.method != "GET":
                    break
        finally:
            for side in sides:
                _forget(side)


def _left(side: Side, call: Call) -> bool:
    """Tell whether Glance may have left a namespace that it refused: a protected one stays."""
    document = call.document
    return (
        isinstance(document, dict)
        and bool(document.get("protected") or "ü" in json.dumps(document, ensure_ascii=False))
        and Call("GET", f"/metadefs/namespaces/{segment(str(document.get('namespace')))}")
        .send(side)
        .status
        == 200
    )


def _forget(side: Side) -> None:
    """Delete what a story may have left."""
    found = Call("GET", "/metadefs/namespaces", (("limit", "100"),)).send(side).expect(200).json()
    for namespace in found["namespaces"]:
        name = namespace["namespace"]
        path = f"/metadefs/namespaces/{segment(name)}"
        if namespace["protected"]:
            Call("PUT", path, document={"namespace": name}).send(side).expect(200)
        Call("DELETE", path).send(side).expect(204)


def comparable(answer: Answer) -> tuple[int, dict[str, str], Any]:
    """Return what of an answer must be the same on both sides: what has no order is in order."""
    status, headers, _ = plain(Answer(answer.status, answer.headers, b""))
    if "location" in headers:  # Glance leaves a blank in it, which no header field may have
        headers["location"] = unquote(headers["location"])
    if answer.status >= 400 or not answer.body:
        return status, headers, None
    return status, headers, _ordered(json.loads(answer.body))


def _ordered(document: Any) -> Any:
    if isinstance(document, list):
        return [_ordered(each) for each in document]
    if not isinstance(document, dict):
        return document
    found = {name: _ordered(value) for name, value in document.items()}
    for time in ("created_at", "updated_at"):
        if time in found:
            found[time] = "TIME"
    for link in ("first", "next"):
        if link in found:
            path, _, query = found[link].partition("?")
            found[link] = path, dict(parse_qsl(query, keep_blank_values=True))
    for several in ("objects", "resource_type_associations", "resource_types"):
        if isinstance(found.get(several), list):
            found[several].sort(key=lambda each: each["name"])
    return found
