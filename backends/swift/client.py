"""Requests to Swift: connections, tokens renewed when one is refused, errors in the stores' words.

The data goes over aiohttp: python-swiftclient blocks a thread for each transfer, and holds what it
reads and sends in pieces of its own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote, urlencode

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from backends.answers import kind_of, translated
from backends.connections import Connections
from backends.errors import DuplicateError, InvalidError, StoreError, ThrottledError
from backends.location import Location
from backends.swift.identity import Access, Identity
from backends.swift.options import SwiftOptions

LISTING_PAGE = 1000  # entries
_SHORT_BODY_MAX = 1 << 22  # bytes; of a page, or of a report on deletions
_KINDS: dict[int, type[StoreError]] = {
    HTTPStatus.CONFLICT: DuplicateError,
    498: ThrottledError,  # Swift's own status
}


@dataclass(frozen=True, slots=True)
class Target:
    """A container or an object, whose, and how errors call it (safe to show)."""

    identity: Identity
    container: str
    name: str
    shown: Location

    def sibling(self, name: str, container: str | None = None) -> Target:
        """Return another object; errors call it as they call this one."""
        chosen = self.container if container is None else container
        return Target(self.identity, chosen, name, self.shown)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    A body is made anew for each attempt, and sent only when Swift has asked for it: so a token
    that has ended costs nothing.
    """

    method: str
    target: Target
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], aiohttp.Payload] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A short answer, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class SwiftClient:
    """Requests of any identity, over one pool of connections.  ValueError for a bad CA file."""

    def __init__(self, options: SwiftOptions) -> None:
        self._connections = Connections(options, buffer_bytes=options.read_buffer_bytes)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.aclose()

    async def opened(
        self, request: Request, buffer_bytes: int | None = None
    ) -> aiohttp.ClientResponse:
        """Ask, once more with another token if the first is refused; any status is an answer.

        The answer has to be closed.  What is received of it and not read yet is held back at
        `buffer_bytes` (None: as the options say).
        """
        identity = request.target.identity
        access = await identity.access()
        response = await self._asked(request, access, buffer_bytes)
        if response.status == HTTPStatus.UNAUTHORIZED:
            response.close()
            access = await identity.access(refused=access)
            response = await self._asked(request, access, buffer_bytes)
        return response

    async def call(self, request: Request) -> Answer:
        """Ask, and read the answer whole; what is too long for that is an InvalidError."""
        shown = request.target.shown
        response = await self.opened(request)
        try:
            received = bytearray()
            with translated(shown):
                async for piece in response.content.iter_any():
                    received += piece
                    if len(received) > _SHORT_BODY_MAX:
                        raise InvalidError(f"{shown}: an answer without an end")
            return Answer(response.status, response.headers, bytes(received))
        finally:
            response.close()

    async def names(self, target: Target, prefix: str) -> AsyncIterator[str]:
        """List the objects that begin with `prefix` in the target's container, if there is one."""
        query = {"format": "json", "prefix": prefix, "limit": str(LISTING_PAGE)}
        while True:
            answer = await self.call(Request("GET", target.sibling(""), query=query))
            if answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
                return
            if answer.status != HTTPStatus.OK:
                raise refusal(target.shown, answer.status)
            try:
                found = [str(entry["name"]) for entry in json.loads(answer.body)]
            except (ValueError, TypeError, KeyError):
                raise InvalidError(f"{target.shown}: not a listing of a container") from None
            if not found or found[-1] <= query.get("marker", ""):
                return
            for name in found:
                yield name
            query["marker"] = found[-1]

    async def _asked(
        self, request: Request, access: Access, buffer_bytes: int | None
    ) -> aiohttp.ClientResponse:
        with translated(request.target.shown):
            return await self._connections.session().request(
                request.method,
                _url(access.url, request),
                headers={**request.headers, "X-Auth-Token": access.token},
                data=None if request.body is None else request.body(),
                expect100=request.body is not None,
                allow_redirects=False,
                # aiohttp stops at twice that.
                read_bufsize=None if buffer_bytes is None else buffer_bytes // 2,
            )


def refusal(what: Location, status: int) -> StoreError:
    """Return the error for a status that is no success."""
    return kind_of(status, _KINDS)(f"{what}: Swift answers {status}")


def _url(storage: str, request: Request) -> URL:
    target = request.target
    parts = [storage.rstrip("/"), quote(target.container, safe="")]
    if target.name:
        parts.append(quote(target.name, safe=""))
    asked = f"?{urlencode(request.query)}" if request.query else ""
    try:
        return URL("/".join(parts) + asked, encoded=True)
    except ValueError:
        raise InvalidError(f"{target.shown}: leads to what is no http address") from None
