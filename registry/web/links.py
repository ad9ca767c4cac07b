"""What links begin with: where the client thinks that it asks."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

BELIEVES_PROXIES = web.AppKey("believes_proxies", bool)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def server_of(request: web.Request) -> str:
    """Return `scheme://host` as the client has it, or as the proxies in front tell."""
    told = _told(request)
    scheme = told.get("proto") or request.scheme
    host = told.get("host") or request.host
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"


def root_of(request: web.Request) -> str:
    """Return the same with the path below which proxies have the catalog."""
    prefix = ""
    if request.app[BELIEVES_PROXIES]:
        prefix = request.headers.get("X-Forwarded-Prefix", "")
    return server_of(request) + prefix


def _told(request: web.Request) -> Mapping[str, str]:
    """Return what the first proxy tells: `Forwarded` (RFC 7239), or what was before it."""
    if not request.app[BELIEVES_PROXIES]:
        return {}
    forwarded = request.headers.get("Forwarded")
    if not forwarded:
        names = ("proto", "host")
        return {name: request.headers.get(f"X-Forwarded-{name}", "") for name in names}
    pairs = (part.partition("=") for part in forwarded.split(",")[0].split(";"))
    return {name.strip().lower(): value.strip(' "') for name, _, value in pairs}
