"""`[import_filtering_opts]`: which web addresses may be read for callers; Glance's names and defaults.

Glance keeps the section in a file of its own, glance-image-import.conf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oslo_config import cfg, types


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """Where something is allowed, all else is refused; what is disallowed counts only where nothing is allowed."""

    allowed_schemes: tuple[str, ...] = ("http", "https")
    disallowed_schemes: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    disallowed_hosts: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = (80, 443)
    disallowed_ports: tuple[int, ...] = ()


WEB_DEFAULTS = FilterSettings()
_PORT = types.Integer(1, 65535)


def _list(name: str, default: tuple[Any, ...], help_text: str, item: Any = None) -> cfg.Opt:
    return cfg.ListOpt(
        name,
        default=[str(each) for each in default],
        help=help_text,
        bounds=True,
        item_type=item or types.String(),
    )


FILTER_OPTIONS: tuple[cfg.Opt, ...] = (
    _list(
        "allowed_schemes",
        WEB_DEFAULTS.allowed_schemes,
        "Schemes of the web addresses that images may come from (web-download, locations), in brackets: [http,https]. Empty: all but the disallowed ones.",
    ),
    _list(
        "disallowed_schemes",
        WEB_DEFAULTS.disallowed_schemes,
        "Schemes that they may not come from, where none are allowed by name.",
    ),
    _list(
        "allowed_hosts",
        WEB_DEFAULTS.allowed_hosts,
        "Hosts that they may come from; also this machine and link-local addresses, which are refused otherwise. Empty: all but the disallowed ones.",
    ),
    _list(
        "disallowed_hosts",
        WEB_DEFAULTS.disallowed_hosts,
        "Hosts that they may not come from, where none are allowed by name; addresses also where a name leads to them.",
    ),
    _list(
        "allowed_ports",
        WEB_DEFAULTS.allowed_ports,
        "Ports that they may come from. Empty: all but the disallowed ones.",
        _PORT,
    ),
    _list(
        "disallowed_ports",
        WEB_DEFAULTS.disallowed_ports,
        "Ports that they may not come from, where none are allowed.",
        _PORT,
    ),
)


def read_filter(group: Any) -> FilterSettings:
    """Take the section as oslo.config has read it."""
    return FilterSettings(**{name: tuple(group[name]) for name in FilterSettings.__slots__})
