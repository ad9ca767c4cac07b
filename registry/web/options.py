"""`[cors]`, `[oslo_middleware]`, `[healthcheck]`: what browsers and balancers are told, who is believed.

Names and defaults are Glance's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg

from registry.options import integer, truth

_METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")
_ALLOWED = (
    *("Content-MD5", "X-Image-Meta-Checksum", "X-Storage-Token", "Accept-Encoding"),
    *("X-Auth-Token", "X-Identity-Status", "X-Roles", "X-Service-Catalog", "X-User-Id"),
    *("X-Tenant-Id", "X-OpenStack-Request-ID"),
)
_EXPOSED = (
    *("X-Image-Meta-Checksum", "X-Auth-Token", "X-Subject-Token", "X-Service-Token"),
    "X-OpenStack-Request-ID",
)


@dataclass(frozen=True, slots=True)
class CorsSettings:
    """Which pages of other origins browsers let use the catalog, and what for."""

    origins: frozenset[str] = frozenset()  # none: only pages of its own
    with_credentials: bool = True
    exposed: tuple[str, ...] = _EXPOSED  # header fields of answers
    max_age: int = 3600  # seconds that browsers remember an answer
    methods: tuple[str, ...] = _METHODS
    allowed: tuple[str, ...] = _ALLOWED  # header fields of requests


_NOBODY = CorsSettings()
_DISABLING_FILE = "/etc/glance/healthcheck_disable"


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What stands before the paths; `believes_proxies`: links are made as proxies tell."""

    cors: CorsSettings = _NOBODY
    believes_proxies: bool = False
    disabling_file: Path | None = Path(_DISABLING_FILE)  # where it is, balancers send nothing


WEB_UNTOLD = WebSettings()
WEB_SECTIONS: dict[str, tuple[cfg.Opt, ...]] = {
    "cors": (
        cfg.ListOpt(
            "allowed_origin",
            help="Origins of pages that browsers may let use the catalog: https://horizon.example.com, or * for all. Not set: none.",
        ),
        truth(
            "allow_credentials", "Whether such requests may have cookies with them.", default=True
        ),
        cfg.ListOpt(
            "expose_headers",
            default=list(_EXPOSED),
            help="Header fields of answers that such pages may read.",
        ),
        integer("max_age", 3600, "Seconds for which browsers remember what they may.", 0),
        cfg.ListOpt(
            "allow_methods", default=list(_METHODS), help="Methods that such pages may use."
        ),
        cfg.ListOpt(
            "allow_headers",
            default=list(_ALLOWED),
            help="Header fields that their requests may have, beside the simple ones.",
        ),
    ),
    "oslo_middleware": (
        truth(
            "enable_proxy_headers_parsing",
            "Make links as the proxy in front tells (Forwarded, or X-Forwarded-Proto, -Host and -Prefix). Only behind one that sets them itself, whatever clients send.",
        ),
    ),
    "healthcheck": (
        cfg.StrOpt(
            "disable_by_file_path",
            default=_DISABLING_FILE,
            help="As long as this file is there, GET /healthcheck answers 503, so that a balancer sends no more requests; what comes is answered. Glance has this in its paste file.",
        ),
    ),
}


def read_web(conf: Any) -> WebSettings:
    """Take the options as oslo.config has read them."""
    cors, file = conf.cors, conf.healthcheck.disable_by_file_path
    return WebSettings(
        cors=CorsSettings(
            origins=frozenset(cors.allowed_origin or ()),
            with_credentials=cors.allow_credentials,
            exposed=tuple(cors.expose_headers),
            max_age=cors.max_age,
            methods=tuple(cors.allow_methods),
            allowed=tuple(cors.allow_headers),
        ),
        believes_proxies=conf.oslo_middleware.enable_proxy_headers_parsing,
        disabling_file=Path(file) if file else None,
    )
