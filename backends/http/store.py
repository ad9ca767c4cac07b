"""Objects on web servers, read-only: `http://` and `https://`, credentials in the URI or not.

A span is asked for with `Range`.  A server that ignores that (200) is read from the beginning,
what comes before the span is dropped, and the connection is cut at its end.  What a server says
of its answer (`Content-Length`, `Content-Range`, RFC 9110 sections 8.6 and 14.4) is held against
what was asked and what comes.  Redirects are followed as Glance does: 301 and 302, five at most; but
never from https to http, where anybody on the way could read and change what comes.

Where others than operators name locations, a `Guard` is asked about each address, redirects' too, and
connections go only to what it tells.  Of a proxy, the operator's, only the URI is looked at: it alone
knows what the names behind it mean.

No error shows a URI's credentials or query, nor quotes aiohttp, whose messages may.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import unquote

import aiohttp
from yarl import URL

from backends.answers import AnswerStream, NoBytes, kind_of, stream_of, translated
from backends.base import Stat
from backends.connections import Connections
from backends.errors import InvalidError, StoreError
from backends.guard import Guard
from backends.location import Location
from backends.options import HttpOptions
from backends.pinning import Pinned, pinned
from backends.spans import Span, parse_unsatisfied_range

_log = logging.getLogger(__name__)

REDIRECTS_MAX = 5
_REDIRECTS = (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND)
# Answers to HEAD of servers that do not know it, or whose signed URLs hold for GET only.
_NO_HEAD = (HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_SCHEMES = ("http", "https")
_NOT_IN_URIS = frozenset(' "<>\\^`{|}')  # RFC 3986 section 2


class HttpStore:
    """A `ReadStore` of everything that web servers hold.

    Bytes are handed on as they are stored there: nothing is ever decompressed, and what a server
    compresses on its way is refused.  ValueError for a CA file that cannot be used.
    """

    def __init__(self, options: HttpOptions | None = None, guard: Guard | None = None) -> None:
        options = options or HttpOptions()
        self._guard = guard
        self._connections = Connections(options, buffer_bytes=options.buffer_bytes)
        self._guarded = Connections(options, buffer_bytes=options.buffer_bytes, resolver=Pinned())
        self._proxies = options.proxies
        if not options.verify_certificates:
            _log.warning(
                "the certificates of https:// locations are not verified, as is Glance's default: "
                "set https_insecure = false, or https_ca_certificates_file"
            )

    def __repr__(self) -> str:
        return "HttpStore()"

    async def stat(self, location: Location) -> Stat:
        """Ask for the headers; where a server does not know HEAD, for the first byte."""
        stat = await self._head(location)
        if stat is not None:
            return stat
        async with self.read(location, Span(0, 1)) as stream:
            return Stat(stream.size)

    @asynccontextmanager
    async def read(
        self, location: Location, span: Span | None = None
    ) -> AsyncIterator[AnswerStream | NoBytes]:
        """Read an object; whatever was not read of the answer is not received either."""
        if span is not None and not len(span):
            yield NoBytes((await self.stat(location)).size)
            return
        headers = {} if span is None else {"Range": span.range_header}
        async with self._answered("GET", location, headers) as response:
            yield await self._stream(location, span, response)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.aclose()
        await self._guarded.aclose()

    @asynccontextmanager
    async def _answered(
        self, method: str, location: Location, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and follow redirects; credentials go to the server that they were given for."""
        url = _url(location, location.uri)
        authorization = _authorization(url)
        for _ in range(REDIRECTS_MAX + 1):
            response = await self._asked(method, location, url, headers | authorization)
            try:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                target = _url(location, response.headers.get("Location", ""), base=url)
            finally:
                response.close()
            if url.scheme == "https" != target.scheme:
                raise InvalidError(f"{location}: leads from https to http")
            if target.origin() != url.origin():
                authorization = {}
            authorization |= _authorization(target)
            url = target
        raise InvalidError(f"{location}: more than {REDIRECTS_MAX} redirects")

    async def _asked(
        self, method: str, location: Location, url: URL, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        """Ask one server, if that may be."""
        url = url.with_user(None)
        proxy = self._proxies.get(url.scheme)
        addresses = () if self._guard is None else await self._guard(str(url))
        connections = self._connections if self._guard is None or proxy else self._guarded
        with translated(location), pinned(addresses):
            return await connections.session().request(
                method, url, headers=headers, allow_redirects=False, proxy=proxy
            )

    async def _head(self, location: Location) -> Stat | None:
        """Return what HEAD tells, None where the server does not answer it."""
        async with self._answered("HEAD", location, {}) as response:
            if response.status == HTTPStatus.OK:
                return Stat(response.content_length)
            if response.status in _NO_HEAD:
                return None
            raise _refusal(location, response)

    async def _stream(
        self, location: Location, span: Span | None, response: aiohttp.ClientResponse
    ) -> AnswerStream | NoBytes:
        """Hold the answer's headers against what was asked."""
        coding = response.headers.get("Content-Encoding", "identity")
        if coding.lower() != "identity" and response.content_length is None:
            # Where it is stored so, the server knows its length.
            raise InvalidError(f"{location}: is compressed on its way, though nobody asked for it")
        stream = stream_of(location, span, response)
        if stream is not None:
            return stream
        if span is not None and response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            size: int | None
            try:
                size = parse_unsatisfied_range(response.headers.get("Content-Range", ""))
            except ValueError:  # not every server tells it there
                stat = await self._head(location)
                size = stat.size if stat is not None else None
            if size is not None and span.start < size:
                raise InvalidError(f"{location}: has {size} bytes, but refuses {span}")
            return NoBytes(size)
        raise _refusal(location, response)


def _refusal(location: Location, response: aiohttp.ClientResponse) -> StoreError:
    return kind_of(response.status)(f"{location}: the server answers {response.status}")


def _url(location: Location, text: str, base: URL | None = None) -> URL:
    """Read an address; one that is quoted already stays as it is, signatures may cover it."""
    quoted = text.isascii() and text.isprintable() and not set(text) & _NOT_IN_URIS
    try:
        url = URL(text, encoded=quoted)
        if base is not None and text:
            url = base.join(url)
        usable = url.scheme in _SCHEMES and bool(url.host)
    except ValueError:
        url, usable = URL(), False
    if not usable:
        raise InvalidError(f"{location}: leads to what is no http address")
    return url.with_fragment(None)


def _authorization(url: URL) -> dict[str, str]:
    """Return the header of RFC 7617 for the credentials in `url`, if there are any."""
    if url.raw_user is None and url.raw_password is None:
        return {}
    pair = f"{unquote(url.raw_user or '')}:{unquote(url.raw_password or '')}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
