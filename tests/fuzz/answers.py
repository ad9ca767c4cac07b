"""An independent reading of what a server sent: strict, and of nothing but bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d{3}) ([ -~]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?(.*)", re.DOTALL)
_BEGINS = b"HTTP/"  # no body here begins so
_WITHOUT_BODY = (204, 304)

# What differs from answer to answer of one server, too.
_MADE_ID = re.compile(rb"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE = re.compile(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; names in lower case, sorted, but for repeated ones, which keep their order."""

    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool = True

    def __repr__(self) -> str:
        body = self.body if len(self.body) < 200 else b"%d bytes" % len(self.body)
        return f"{self.status} {self.fields} {body!r}{'' if self.complete else ' and cut'}"


def answers(stream: bytes) -> list[Answer]:
    """Read all answers of a connection; ValueError for what is no HTTP."""
    found: list[Answer] = []
    while stream:
        head, end, rest = stream.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status_line = _STATUS_LINE.fullmatch(lines[0])
        fields = [_FIELD.fullmatch(line) for line in lines[1:]]
        if not end or status_line is None or None in fields:
            raise ValueError(f"not an answer: {head[:500]!r}")
        status = int(status_line[1])
        pairs = [(field[1].lower(), field[2]) for field in fields if field]
        body, complete, stream = _body(status, dict(pairs), rest)
        normal = sorted(((name, _normal(name, value)) for name, value in pairs), key=_name)
        found.append(Answer(status, status_line[2], tuple(normal), body, complete))
    return found


def _body(status: int, fields: dict[bytes, bytes], rest: bytes) -> tuple[bytes, bool, bytes]:
    """Return an answer's body, whether that is all of it, and what follows."""
    if status < 200 or status in _WITHOUT_BODY or rest.startswith(_BEGINS):
        return b"", True, rest  # the latter is what HEAD gets
    if b"transfer-encoding" in fields:
        raise ValueError("nothing here is sent in pieces")
    length = int(fields[b"content-length"])
    if not rest:
        return b"", True, b""  # HEAD, or a body of which nothing came: alike for both
    return rest[:length], len(rest) >= length, rest[length:]


def _name(pair: tuple[bytes, bytes]) -> bytes:
    return pair[0]


def _normal(name: bytes, value: bytes) -> bytes:
    if name == b"date" and _DATE.fullmatch(value):
        return b"a date"
    if name == b"x-openstack-request-id" and _MADE_ID.fullmatch(value):
        return b"an id"
    return value
