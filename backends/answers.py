"""Answers over HTTP: what a refusal means, and bytes held against what was asked and promised.

What all drivers share that speak HTTP with aiohttp.  Errors quote nothing of aiohttp's, whose
messages may show credentials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Self

import aiohttp

from backends.errors import (
    DeniedError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    ThrottledError,
    UnavailableError,
    UnsupportedError,
)
from backends.location import Location
from backends.spans import END, Span, parse_content_range

_Kinds = Mapping[int, type[StoreError]]

_KINDS: _Kinds = MappingProxyType(
    {
        HTTPStatus.UNAUTHORIZED: DeniedError,
        HTTPStatus.PAYMENT_REQUIRED: DeniedError,
        HTTPStatus.FORBIDDEN: DeniedError,
        HTTPStatus.NOT_FOUND: MissingError,
        HTTPStatus.METHOD_NOT_ALLOWED: UnsupportedError,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: DeniedError,
        HTTPStatus.REQUEST_TIMEOUT: UnavailableError,
        HTTPStatus.GONE: MissingError,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: NoSpaceError,
        HTTPStatus.TOO_EARLY: UnavailableError,
        HTTPStatus.TOO_MANY_REQUESTS: ThrottledError,
        HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: DeniedError,
        HTTPStatus.NOT_IMPLEMENTED: UnsupportedError,
        HTTPStatus.INSUFFICIENT_STORAGE: NoSpaceError,
    }
)

_PIECE_BYTES = 1 << 18  # at most, at once: as much as a loop receives


def kind_of(status: int, own: _Kinds = MappingProxyType({})) -> type[StoreError]:
    """Return what a status that is no success means; `own` is what one kind of server means by it."""
    kind = own.get(status) or _KINDS.get(status)
    if kind is not None:
        return kind
    return UnavailableError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else InvalidError


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer tells of the whole object: see `backends.base.ReadStream`."""

    size: int | None
    version: str | None


class NoBytes:
    """An empty stream."""

    version = None
    waits = 0

    def __init__(self, size: int | None) -> None:
        self.size = size

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


class AnswerStream:
    """The `wanted` part of an answer that should carry the span `carried` (to END: not told)."""

    def __init__(
        self,
        location: Location,
        content: aiohttp.StreamReader,
        carried: Span,
        wanted: Span,
        told: Told,
    ) -> None:
        self.size = told.size
        self.version = told.version
        self._location = location
        self._content = content
        self._carried = carried
        self._wanted = wanted
        self._position = carried.start
        self._ended = not len(wanted)
        self.waits = 0  # for bytes: times that none had been received

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ended:
            with translated(self._location):
                received = self._content.read_nowait(_PIECE_BYTES)
                if not received:
                    self.waits += 1
                    received = await self._content.read(_PIECE_BYTES)
            if not received:
                self._end()
                break
            start = self._position
            self._position += len(received)
            if self._position > self._carried.stop:
                raise InvalidError(f"{self._location}: more bytes than announced")
            # An answer that should end here is read to its end, so that a longer one is noticed.
            if self._wanted.stop <= self._position < self._carried.stop:
                self._ended = True
            if kept := received[max(self._wanted.start - start, 0) : self._wanted.stop - start]:
                return kept
        raise StopAsyncIteration

    def _end(self) -> None:
        self._ended = True
        if self._carried.stop == END:
            self.size = self._position
        elif self._position < self._carried.stop:
            raise UnavailableError(
                f"{self._location}: ended at byte {self._position} of {self._carried.stop}"
            )


def carried_span(
    location: Location, span: Span, content_range: str, content_length: int | None
) -> tuple[Span, int | None]:
    """Return the span that a 206 carries and the object's size, where it tells that.

    InvalidError if its headers do not answer the `span` that was asked for.
    """
    try:
        told = parse_content_range(content_range)
    except ValueError:
        raise InvalidError(f"{location}: a 206 without a readable Content-Range") from None
    if told.size is not None:
        due = span.clip(Span(0, told.size))
    elif span.stop == END:
        due = Span(span.start, told.span.stop)
    else:
        due = span
    if told.span != due:
        raise InvalidError(f"{location}: asked for {due}, the answer has {told.span}")
    if content_length not in (None, len(due)):
        raise InvalidError(f"{location}: {content_length} bytes are announced for {due}")
    return due, told.size


def stream_of(
    location: Location, span: Span | None, response: aiohttp.ClientResponse
) -> AnswerStream | None:
    """Return what an answer with bytes (200, 206) carries of `span`; None if it is none of these.

    InvalidError if its headers contradict one another or what was asked.
    """
    version = strong_tag(response.headers.get("ETag"))
    if response.status == HTTPStatus.OK:
        size = response.content_length
        carried = Span(0, END if size is None else size)
        wanted = carried if span is None else span.clip(carried)
        return AnswerStream(location, response.content, carried, wanted, Told(size, version))
    if span is not None and response.status == HTTPStatus.PARTIAL_CONTENT:
        carried, size = carried_span(
            location, span, response.headers.get("Content-Range", ""), response.content_length
        )
        return AnswerStream(location, response.content, carried, carried, Told(size, version))
    return None


def strong_tag(entity_tag: str | None) -> str | None:
    """Return an `ETag` if it differs with every change of a byte (RFC 9110 section 8.8.3)."""
    return None if entity_tag is None or entity_tag.startswith("W/") else entity_tag


@contextmanager
def translated(location: Location) -> Iterator[None]:
    """Turn aiohttp's errors, and the network's, into the store's."""
    try:
        yield
    except aiohttp.InvalidURL:
        raise InvalidError(f"{location}: is no http address") from None
    except aiohttp.ClientHttpProxyError as error:
        raise kind_of(error.status)(f"{location}: the proxy answers {error.status}") from None
    except aiohttp.ClientResponseError:
        raise InvalidError(f"{location}: the server does not speak HTTP") from None
    except (aiohttp.ClientError, OSError) as error:  # OSError: with TimeoutError
        raise UnavailableError(f"{location}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorDNSError():
            return "the host is not known"
        case aiohttp.ClientSSLError():
            return "no trusted TLS connection"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "the answer was cut"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return type(error).__name__
