"""Connections only to addresses that were looked at, whatever a name means a moment later.

A request is sent within `pinned(addresses)`, and its session resolves names with `Pinned`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from aiohttp.abc import AbstractResolver, ResolveResult

_pinned: ContextVar[Sequence[str]] = ContextVar("pinned")


@contextmanager
def pinned(addresses: Sequence[str]) -> Iterator[None]:
    """Let the running task connect to these addresses; opened and closed around one request."""
    before = _pinned.set(addresses)
    try:
        yield
    finally:
        _pinned.reset(before)


class Pinned(AbstractResolver):
    """Knows only the addresses that the running task may connect to."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return them, whatever the host is called; OSError if nobody looked at it."""
        del family
        addresses = _pinned.get(())
        if not addresses:
            raise OSError("nobody has looked at this host")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Hold nothing."""
