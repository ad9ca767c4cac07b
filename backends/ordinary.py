"""Which requests for image data a fast lane may answer, to the letter.  Pure.

Only what everybody reads alike: one whole `GET /v2/images/{id}/file HTTP/1.1` with nothing behind it,
plain lines, at most one simple `Range`, no field twice, and no field that changes what is meant.
Whatever is doubtful is left to aiohttp's parser and the handlers behind it, unchanged.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD_BYTES_MAX = 16 << 10  # Fernet tokens take 300 bytes; whole catalogs in a token are rare now
FIELDS_MAX = 64
END_OF_HEAD = b"\r\n\r\n"

_REQUEST_LINE = re.compile(
    rb"GET /v2/images/([0-9A-Za-z][0-9A-Za-z._-]{0,127})/file HTTP/1\.1(?=\r\n)"
)
DIGITS_MAX = 18  # of a position: more than any image's size, and no work for int()
_RANGE = re.compile(rb"\r\n[Rr]ange: ?bytes=([0-9]{1,18})-([0-9]{0,18})(?=\r\n)")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, RFC 9110 section 5.6.2
_VALUE = re.compile(rb"[\x20-\x7e\t]*")

# Fields that say how the request is framed, on which condition or in which form it is meant, or
# what becomes of the connection: a request that has one is not ordinary.
_SPECIAL = frozenset(
    {
        *(b"connection", b"content-encoding", b"content-length", b"content-range", b"expect"),
        *(b"http2-settings", b"if-match", b"if-modified-since", b"if-none-match", b"if-range"),
        *(b"if-unmodified-since", b"keep-alive", b"proxy-connection", b"range", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade"),
    }
)
_BODILESS = (b"GET ", b"HEAD ")
_BEYOND_THE_HEAD = re.compile(
    rb"\r\n(?:content-length|transfer-encoding|upgrade|expect)[ \t]*:", re.IGNORECASE
)


class Ordinary(NamedTuple):
    """An ordinary request, if its `fields` are too."""

    image_id: str
    first: int  # the range's first byte; -1: the whole is wanted
    last: int  # its last byte; -1: the image's
    fields: bytes  # all lines behind the first but the `Range`, each behind its CRLF


class Fields(NamedTuple):
    """The header fields of an ordinary request, but for its `Range`."""

    headers: list[tuple[str, str]]
    request_id: str  # that the client gave; empty: none


class Repeat:
    """A request that differs from one that was taken in nothing but the numbers of its `Range`."""

    __slots__ = ("_before", "_behind", "_first", "_stop")

    def __init__(self, before: bytes, behind: bytes) -> None:
        """All of it that stands before the first of the numbers, and behind the last."""
        self._before, self._first = before, len(before)
        self._behind, self._stop = behind, -len(behind)

    @classmethod
    def of(cls, data: bytes) -> Repeat | None:
        """Take a request that `ordinary` recognises, and whose fields are read, for a pattern."""
        wanted = _RANGE.search(data)
        return wanted and cls(data[: wanted.start(1)], data[wanted.end(2) :])

    def read(self, data: bytes) -> tuple[int, int] | None:
        """Return the first and the last byte, as `ordinary` does; None if it differs in more."""
        if not (data.startswith(self._before) and data.endswith(self._behind)):
            return None
        first, _, last = data[self._first : self._stop].partition(b"-")
        if len(first) > DIGITS_MAX or len(last) > DIGITS_MAX:
            return None
        return (int(first), int(last)) if first.isdigit() and last.isdigit() else None


def ordinary(data: bytes) -> Ordinary | None:
    """Recognise what came in on an idle connection; None: it is not for the fast lane.

    The fields have still to be read.
    """
    line = _REQUEST_LINE.match(data)
    if line is None or data.find(END_OF_HEAD) != len(data) - 4 or len(data) > HEAD_BYTES_MAX:
        return None
    at = line.end()
    wanted = _RANGE.search(data, at)
    if wanted is None:
        return Ordinary(line[1].decode(), -1, -1, data[at:-4])
    first, last = wanted.groups()
    fields = data[at : wanted.start()] + data[wanted.end() : -4]
    return Ordinary(line[1].decode(), int(first), int(last) if last else -1, fields)


def read_fields(lines: bytes) -> Fields | None:
    """Read the fields of an ordinary request; None: they are not."""
    headers: list[tuple[str, str]] = []
    names: set[bytes] = set()
    request_id = ""
    first, *rest = lines.split(b"\r\n")
    if first or len(rest) > FIELDS_MAX:
        return None
    for line in rest:
        name, colon, text = line.partition(b":")
        lower, value = name.lower(), text.strip(b" \t")
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(text):
            return None
        if lower in names or lower.startswith(b"sec-"):
            return None
        if lower in _SPECIAL and not (lower == b"connection" and value.lower() == b"keep-alive"):
            return None
        names.add(lower)
        headers.append((name.decode(), value.decode()))
        if lower == b"x-openstack-request-id":
            request_id = value.decode()
    return Fields(headers, request_id) if b"host" in names else None


def whole_head(data: bytes) -> bool:
    """Whether this is one whole request without a body, whoever answers it.

    After its answer, aiohttp's parser stands where it stood before.
    """
    return (
        data.startswith(_BODILESS)
        and data.find(END_OF_HEAD) == len(data) - 4
        and data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r")
        and _BEYOND_THE_HEAD.search(data) is None
    )
