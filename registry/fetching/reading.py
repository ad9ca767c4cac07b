"""Reads web addresses for callers: only what `UriFilter` lets them have, at every step of the way.

Each request connects to an address that was looked at, whatever the name means a moment later, and
a redirection is looked at as the first address was.  No proxy, no credentials but those given.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp import hdrs

from backends.location import Location
from backends.pinning import Pinned, pinned
from registry.domain.errors import InvalidRequestError
from registry.fetching.filtering import UriFilter

LOG = logging.getLogger(__name__)

REDIRECTIONS_MAX = 10
CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 60.0  # between two pieces of a body
PIECE_BYTES = 1 << 20
_REDIRECTIONS = frozenset(
    {
        *(HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER),
        *(HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT),
    }
)


@dataclass(frozen=True, slots=True)
class Source:
    """Data on its way: `size` in bytes where it is told beforehand."""

    size: int | None
    body: AsyncIterator[bytes]


@asynccontextmanager
async def reading(
    uri_filter: UriFilter, uri: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Source]:
    """Open what is at a web address.

    `InvalidRequestError` if it may not or cannot be read, also in the middle of it; its words hold
    no URI, and do not tell why nobody answers: clients would learn what listens where only the
    catalog gets.  The headers are sent to the first address only.
    """
    try:
        for _ in range(REDIRECTIONS_MAX + 1):
            addresses = await uri_filter.addresses(uri)
            async with _asked(addresses, uri, headers or {}) as response:
                if response.status not in _REDIRECTIONS:
                    if response.status != HTTPStatus.OK:
                        raise InvalidRequestError(f"The source answers {response.status}.")
                    yield Source(response.content_length, _body(response))
                    return
                uri, headers = _redirected(uri, response), None
    except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError, ValueError) as error:
        _log(uri, error)
        raise InvalidRequestError("The source cannot be read.") from error
    raise InvalidRequestError("The source redirects without an end.")


@asynccontextmanager
async def _asked(
    addresses: Sequence[str], uri: str, headers: Mapping[str, str]
) -> AsyncIterator[aiohttp.ClientResponse]:
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
    )
    connector = aiohttp.TCPConnector(resolver=Pinned(), use_dns_cache=False)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=PIECE_BYTES,
    ) as session:
        with pinned(addresses):
            response = await session.get(
                uri,
                headers={hdrs.ACCEPT_ENCODING: "identity", **headers},
                allow_redirects=False,
            )
        async with response:
            yield response


def _redirected(uri: str, response: aiohttp.ClientResponse) -> str:
    target = response.headers.get(hdrs.LOCATION)
    if not target:
        raise InvalidRequestError("The source redirects to nowhere.")
    there = urljoin(uri, target)
    if urlsplit(uri).scheme == "https" and urlsplit(there).scheme != "https":
        raise InvalidRequestError("The source redirects to what is not encrypted.")
    return there


async def _body(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for piece in response.content.iter_any():
            yield piece
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        _log(str(response.url), error)
        raise InvalidRequestError("The source broke off.") from error


def _log(uri: str, error: Exception) -> None:
    """Tell operators why; the error's own words may hold what the URI does."""
    LOG.warning("%s cannot be read: %s", Location(uri), type(error).__name__)
