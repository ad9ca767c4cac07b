"""The connections of the drivers that speak HTTP with aiohttp, and whom these trust."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver


def authorities(ca_file: Path | None) -> ssl.SSLContext | None:
    """Return what trusts the authorities of a file only; ValueError for one that cannot be used."""
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ValueError(f"CA file {ca_file}: {error.strerror or error}") from error


class ConnectionOptions(Protocol):
    """What the options of such a driver have in common."""

    @property
    def ca_file(self) -> Path | None:
        """Trusted instead of the system's authorities."""

    @property
    def verify_certificates(self) -> bool:
        """Whether servers must prove who they are."""

    @property
    def connections(self) -> int:
        """At once, to all servers together."""

    @property
    def connect_seconds(self) -> float:
        """The longest wait for a connection to be accepted."""

    @property
    def stall_seconds(self) -> float:
        """The longest silence, before or within an answer; also the longest wait for a place."""


class Connections:
    """A pool, opened at its first use.  ValueError for a CA file that cannot be used.

    Bytes come as they are sent: no cookies, nothing is decompressed.  A `resolver` is asked for each
    connection, instead of the system's.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        *,
        buffer_bytes: int,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._options = options
        self._buffer_bytes = buffer_bytes  # received and not yet read, per answer
        self._resolver = resolver
        self._trusted: ssl.SSLContext | bool = False
        if options.verify_certificates:
            self._trusted = authorities(options.ca_file) or True
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """Return what sends requests."""
        if self._session is None:
            options = self._options
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=options.connections,
                    ssl=self._trusted,
                    resolver=self._resolver,
                    use_dns_cache=self._resolver is None,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
                read_bufsize=self._buffer_bytes // 2,  # aiohttp stops reading at twice that
                timeout=aiohttp.ClientTimeout(
                    connect=options.stall_seconds,  # with the wait for one of the connections
                    sock_connect=options.connect_seconds,
                    sock_read=options.stall_seconds,
                ),
            )
        return self._session

    async def aclose(self) -> None:
        """Close all connections; another use opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
