"""Which web addresses may be read for a caller: no way through the catalog into its own machine.

The decisions are Glance 33's: an operator's lists, then what the name leads to.  A name that leads to
this machine or a link-local address (clouds tell their secrets there) is refused, unless the host is
allowed by name; so is what some libraries would read as an address, but is none (2130706433, 127.1).
Otherwise than in Glance, so are multicast addresses, and IPv6 addresses that lead to an IPv4 address
are what that is.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from yarl import URL

from registry.domain.errors import InvalidRequestError
from registry.fetching.options import FilterSettings

RESOLVE_SECONDS = 20.0  # longer than a resolver's own tries of two servers
_PORTS = {"https": 443}  # 80 otherwise
# Whose last four bytes are the IPv4 address that a gateway, or this machine itself, leads to.
_WRAPPING = (
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
    IPv6Network("64:ff9b:1::/48"),  # NAT64 of one's own, RFC 8215
    IPv6Network("::/96"),  # RFC 4291 section 2.5.5.1, deprecated
)

Address: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


async def _resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name; OSError if it has none.

    With a dot behind it only a name is a name: numbers in any notation are not found.
    """
    name = host if host.endswith(".") else f"{host}."
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(RESOLVE_SECONDS):
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]).partition("%")[0] for each in found]


class UnknownHostError(InvalidRequestError):
    """A name without an address, now."""


class UriFilter:
    """Says where a URI may be read from."""

    def __init__(self, settings: FilterSettings, resolve: Resolve = _resolve) -> None:
        self._settings = settings
        self._resolve = resolve

    async def addresses(self, uri: str) -> tuple[str, ...]:
        """Return the addresses that the URI may be read from, one at least, in the resolver's order.

        Whoever reads it should connect to one of them: a name may lead elsewhere a moment later.
        `InvalidRequestError` if it may not be read; the words do not repeat the URI, which may
        hold a password.
        """
        try:
            url = URL(uri)  # as aiohttp reads it: to other readers 127。0。0。1 is a name
            scheme, host, port = url.scheme, url.host, url.explicit_port
        except ValueError:
            raise InvalidRequestError("It is not a URI.") from None
        settings = self._settings
        _require("scheme", scheme, settings.allowed_schemes, settings.disallowed_schemes)
        host = _normal(host)
        _require("host", host, settings.allowed_hosts, settings.disallowed_hosts)
        if port is not None:
            _require("port", port, settings.allowed_ports, settings.disallowed_ports)
        found = await self._found(host, port or _PORTS.get(scheme, 80))
        allowed = tuple(str(each) for each in found if self._allows(host, each))
        if not allowed:
            raise InvalidRequestError(_nowhere(host))
        return allowed

    async def _found(self, host: str, port: int) -> Sequence[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise UnknownHostError(_nowhere(host)) from None
        return list(dict.fromkeys(ip_address(each) for each in found))

    def _allows(self, host: str, address: Address) -> bool:
        settings = self._settings
        if settings.allowed_hosts:
            return host in settings.allowed_hosts or not _is_local(address)
        names = {str(address), str(_inner(address))}
        return not _is_local(address) and names.isdisjoint(map(_shown, settings.disallowed_hosts))


def _nowhere(host: str) -> str:
    """Say the same of a name that has no address and of one that leads inside: nobody is to learn which."""
    return f"The host {host} is not known, or not allowed."


def _normal(host: str | None) -> str:
    """Return a host as operators write it; what is neither a name nor an address is nothing."""
    if host is None:
        return ""
    shown = _shown(host)
    return "" if re.fullmatch(r"[\d.]+", shown) and not _is_address(shown) else shown


def _shown(host: str) -> str:
    return str(ip_address(host)) if _is_address(host) else host


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(address: Address) -> bool:
    """Tell whether an address, or the one in it, is anything but one other machine's."""
    inner = _inner(address)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or (isinstance(address, IPv6Address) and address.scope_id is not None)
        or (inner is not None and _is_local(inner))
    )


def _inner(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to."""
    if isinstance(address, IPv4Address):
        return None
    if any(address in network for network in _WRAPPING):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _require(
    what: str, value: str | int, allowed: Sequence[str | int], disallowed: Sequence[str | int]
) -> None:
    if not value or (value not in allowed if allowed else value in disallowed):
        raise InvalidRequestError(f"The {what} {value or 'of the URI'} is not allowed.")
