"""Lines of JSON on the admin socket, version 1.

The client sends one line, `{"version": 1, "request": {"command": …}}`, and keeps its side open: its
end of file takes the request back.  The daemon answers with lines, each an object with an `event`:

    alive      nothing new; at least every `ALIVE_SECONDS` there is some line
    progress   how far it is; some are left out where the client is slow
    rows       a part of a list
    result     the last line, if it went well
    error      the last line, if it did not: a `code` for programs and a `message` for people
"""

from __future__ import annotations

import msgspec

from cacheproxy.admin.requests import AnyRequest
from cacheproxy.admin.results import ErrorCode, ImageRow, Progress
from cacheproxy.errors import ProxyError

VERSION = 1
REQUEST_BYTES_MAX = 512 << 10
EVENT_BYTES_MAX = 4 << 20
ALIVE_SECONDS = 2.0


class WireError(ProxyError):
    """What came is no line of this protocol."""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request and the version that it is of."""

    version: int
    request: AnyRequest


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower):
    """The base of what the daemon says."""


class Alive(Event, frozen=True):
    """It goes on."""


class Progressed(Event, frozen=True, tag="progress"):
    """How far it is."""

    progress: Progress


class Rows(Event, frozen=True):
    """A part of a list."""

    rows: list[ImageRow]


class Result(Event, frozen=True):
    """It went well; what it holds depends on the command (see results.py)."""

    result: msgspec.Raw


class Error(Event, frozen=True):
    """It did not."""

    code: ErrorCode
    message: str


AnyEvent = Alive | Progressed | Rows | Result | Error


class _Versioned(msgspec.Struct):
    version: int


def encode(said: Envelope | AnyEvent) -> bytes:
    """Return a line."""
    return msgspec.json.encode(said) + b"\n"


def decode_request(line: bytes) -> AnyRequest:
    """Read a client's line; WireError says what is wrong with it."""
    try:
        version = msgspec.json.decode(line, type=_Versioned).version
        if version != VERSION:
            raise WireError(f"version {version} is asked for, version {VERSION} is spoken here")
        return msgspec.json.decode(line, type=Envelope).request
    except (msgspec.DecodeError, RecursionError) as error:
        raise WireError(f"not a request: {error}") from None  # the line may hold a token


def decode_event(line: bytes) -> AnyEvent:
    """Read a daemon's line; WireError if it is none of this version."""
    try:
        event: AnyEvent = msgspec.json.decode(line, type=AnyEvent)
    except msgspec.DecodeError as error:
        raise WireError(f"not an answer: {error}") from error
    return event
