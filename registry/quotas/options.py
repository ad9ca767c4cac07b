"""`[DEFAULT] user_storage_quota, use_keystone_limits` and `[oslo_limit]`: what projects may use.

Names and defaults are Glance's and oslo.limit's.  `[oslo_limit]` logs in with an account of its own,
which may read the limits of all projects (a reader of the whole system).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from oslo_config import cfg

from registry.errors import ConfigError
from registry.keystone.options import LOGIN_OPTIONS, KeystoneSettings, read_account
from registry.options import truth

_STORAGE = re.compile(r"([0-9]+)([KMGT]?)B?")
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Which endpoint of Keystone's is the catalog's: by its id, or by what it is known by."""

    endpoint_id: str | None = None
    service_type: str | None = None
    service_name: str | None = None
    region: str | None = None
    interface: str = "public"


@dataclass(frozen=True, slots=True)
class KeystoneLimitSettings:
    """Who asks Keystone, and about which endpoint."""

    account: KeystoneSettings
    endpoint: EndpointSettings


@dataclass(frozen=True, slots=True)
class QuotaSettings:
    """`storage` is bytes of each project; `keystone` replaces it.  None: no such quota."""

    storage: int | None = None
    keystone: KeystoneLimitSettings | None = None


QUOTA_OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "user_storage_quota",
        default="0",
        help="What the images of a project may have in all stores together, each counted as often as it is there: a number of bytes, or of KB, MB, GB or TB (of 1024). 0: any number.",
    ),
    truth(
        "use_keystone_limits",
        "Hold projects to the limits that are registered in Keystone, instead: docs/quotas.md, [oslo_limit].",
    ),
)
OSLO_LIMIT_OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt("auth_url", help="Where the catalog logs in to read limits."),
    cfg.StrOpt(
        "auth_type",
        default="password",
        deprecated_opts=[cfg.DeprecatedOpt("auth_plugin")],
        help="How it logs in, as in [keystone_authtoken].",
    ),
    *LOGIN_OPTIONS,
    cfg.StrOpt("region_name", help="The region of Keystone's endpoint. Not set: any."),
    cfg.ListOpt(
        "valid_interfaces",
        default=["public"],
        help="Which endpoint of Keystone is asked; the first counts.",
    ),
    cfg.StrOpt("cafile", help="Authorities of Keystone's certificate. Not set: the system's."),
    truth("insecure", "Do not look at Keystone's certificate."),
    cfg.StrOpt("certfile", help="A certificate that Keystone wants of the catalog."),
    cfg.StrOpt("keyfile", help="Its key."),
    cfg.StrOpt(
        "endpoint_id",
        help="The catalog's own endpoint in Keystone, for which limits are registered.",
    ),
    cfg.StrOpt("endpoint_service_type", help="Instead of its id, its service's type: image."),
    cfg.StrOpt("endpoint_service_name", help="The same, by the service's name."),
    cfg.StrOpt("endpoint_region_name", help="The region of that endpoint."),
    cfg.StrOpt(
        "endpoint_interface",
        default="public",
        choices=(*("public", "publicURL", "internal", "internalURL", "admin", "adminURL"),),
        help="The interface of that endpoint.",
    ),
)


def read_quotas(conf: Any) -> QuotaSettings:
    """Take the options as oslo.config has read them; `ConfigError` says what is wrong."""
    match = _STORAGE.fullmatch(conf.user_storage_quota)
    if match is None:
        raise ConfigError(
            f"[DEFAULT] user_storage_quota = {conf.user_storage_quota} is no number of bytes, or of "
            "KB, MB, GB or TB without a space before"
        )
    storage = int(match[1]) * _FACTORS[match[2]]
    if not conf.use_keystone_limits:
        return QuotaSettings(storage=storage or None)
    group = conf.oslo_limit
    endpoint = EndpointSettings(
        endpoint_id=group.endpoint_id,
        service_type=group.endpoint_service_type,
        service_name=group.endpoint_service_name,
        region=group.endpoint_region_name,
        interface=group.endpoint_interface.removesuffix("URL"),
    )
    if not (endpoint.endpoint_id or endpoint.service_type or endpoint.service_name):
        raise ConfigError("[oslo_limit] endpoint_id: use_keystone_limits needs it")
    interface = group.valid_interfaces[0] if group.valid_interfaces else "public"
    account = read_account(group, "oslo_limit", interface)
    return QuotaSettings(keystone=KeystoneLimitSettings(account, endpoint))
