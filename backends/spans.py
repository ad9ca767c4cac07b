"""Half-open byte spans, and the one-range `Range` header as Glance reads it.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

# No object is as long: the stop of a span that runs to the end of an object of unknown size.
END = (1 << 63) - 1


class RangeNotSatisfiableError(ValueError):
    """A `Range` that names no byte of the object, or cannot be read at all (Glance: 416 for both)."""


class MultipleRangesError(ValueError):
    """A `Range` with several ranges, which Glance refuses (400) rather than ignores."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The bytes `start <= position < stop <= END` of an object; may be empty."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop <= END:
            raise ValueError(f"not a span: {self.start}..{self.stop}")

    @classmethod
    def since(cls, start: int) -> Self:
        """Return everything from `start` on, however long the object is."""
        return cls(start, END)

    def __len__(self) -> int:
        return self.stop - self.start

    def __contains__(self, position: int) -> bool:
        return self.start <= position < self.stop

    def clip(self, other: Span) -> Span:
        """Return the part of this span inside `other`; empty where they do not meet."""
        start = min(max(self.start, other.start), other.stop)
        return Span(start, max(start, min(self.stop, other.stop)))

    @property
    def range_header(self) -> str:
        """The `Range` request header for this (not empty) span, RFC 9110 section 14.2."""
        if not len(self):
            raise ValueError("an empty span has no Range header")
        if self.stop == END:
            return f"bytes={self.start}-"
        return f"bytes={self.start}-{self.stop - 1}"

    def content_range(self, size: int) -> str:
        """Return the `Content-Range` response header of a 206 for an object of `size` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)
# Longer numbers than any object's size are read as "past the end"; it also bounds int()'s work.
_DIGITS_MAX = 30


def parse_range(header: str, size: int) -> Span:
    """Return the span that a `Range` header asks for, of an object of `size` bytes.

    Glance's reading (glance/common/wsgi.py), stricter than RFC 9110: whatever is malformed is not
    satisfiable instead of ignored, and several ranges are an error.  An end beyond the object is
    clipped; `bytes=-n` means the last n bytes.
    """
    if "," in header:
        raise MultipleRangesError(header)
    match = _RANGE.fullmatch(header)
    if match is None:
        raise RangeNotSatisfiableError(header)
    first, last = (text.lstrip("0") or ("0" if text else "") for text in match.groups())
    if max(len(first), len(last)) > _DIGITS_MAX or not (first or last):
        raise RangeNotSatisfiableError(header)
    if not first:
        length = min(int(last), size)
        if not length:
            raise RangeNotSatisfiableError(header)
        return Span(size - length, size)
    start = int(first)
    stop = min(int(last) + 1, size) if last else size
    if start >= stop:
        raise RangeNotSatisfiableError(header)
    return Span(start, stop)


# 18 digits: more than any object's size, and less than END.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What a 206 says it carries: the span, and the whole object's size where it is told."""

    span: Span
    size: int | None


def parse_content_range(header: str) -> ContentRange:
    """Read a response's `Content-Range` (RFC 9110 section 14.4); ValueError if it makes no sense."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        raise ValueError(f"not a Content-Range: {header!r}")
    first, last, whole = match.groups()
    if int(last) < int(first):  # RFC 9110 section 14.4: invalid, and there is no empty one
        raise ValueError(f"not a Content-Range: {header!r}")
    size = None if whole == "*" else int(whole)
    span = Span(int(first), int(last) + 1)
    if size is not None and span.stop > size:
        raise ValueError(f"Content-Range beyond the object: {header!r}")
    return ContentRange(span, size)


_NO_RANGE = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)


def parse_unsatisfied_range(header: str) -> int:
    """Return the object's size from a 416's `Content-Range`; ValueError if it makes no sense."""
    match = _NO_RANGE.fullmatch(header.strip())
    if match is None:
        raise ValueError(f"not the Content-Range of a 416: {header!r}")
    return int(match[1])
