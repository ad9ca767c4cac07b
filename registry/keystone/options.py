"""`[keystone_authtoken]`: how callers are known; names and defaults are keystonemiddleware's.

Times are in seconds.  Only `http_connect_timeout` has another default: none there, which would let
a Keystone that hangs hold its callers for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oslo_config import cfg

from registry.errors import ConfigError
from registry.options import integer, truth

_NEEDED_BY = {"keystone_authtoken": "flavor = keystone", "oslo_limit": "use_keystone_limits"}
AUTH_TYPES = ("password", "v3password", "v3applicationcredential")


@dataclass(frozen=True, slots=True)
class KeystoneSettings:
    """Where Keystone is, and the account with which it is asked.  Times are in seconds."""

    auth_url: str
    auth_type: str = "password"
    login: Mapping[str, str] = field(default_factory=dict, repr=False)  # the plugin's other options
    www_authenticate_uri: str = ""  # empty: auth_url
    interface: str = "internal"
    region: str | None = None
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    insecure: bool = False
    request_seconds: int = 30
    retries: int = 3
    cache_seconds: int = 300
    memcached_servers: tuple[str, ...] = ()
    service_roles: frozenset[str] = frozenset({"service"})  # in lower case
    service_roles_required: bool = True
    service_type: str | None = None
    section: str = "keystone_authtoken"  # where an operator finds these

    @property
    def challenge(self) -> str:
        """What a 401 says of where tokens come from, in keystonemiddleware's words."""
        return f'Keystone uri="{self.www_authenticate_uri or self.auth_url}"'


def _login(
    name: str, help_text: str, *, old: tuple[str, ...] = (), secret: bool = False
) -> cfg.Opt:
    deprecated = [cfg.DeprecatedOpt(each) for each in old]
    return cfg.StrOpt(name, help=help_text, deprecated_opts=deprecated, secret=secret)


_DEFAULTS = KeystoneSettings("")
LOGIN_OPTIONS = (
    _login("username", "The service's own user.", old=("user_name",)),
    _login("user_id", "Instead of its name, its id."),
    _login("password", "Its password.", secret=True),
    _login("user_domain_name", "The user's domain, by name."),
    _login("user_domain_id", "The user's domain, by id."),
    _login(
        "project_name", "The project in which the user has the role service.", old=("tenant_name",)
    ),
    _login("project_id", "Instead of its name, its id.", old=("tenant_id",)),
    _login("project_domain_name", "The project's domain, by name."),
    _login("project_domain_id", "The project's domain, by id."),
    _login(
        "default_domain_name",
        "The domain of user and project where nothing else is said (auth_type password).",
    ),
    _login("default_domain_id", "The same, by id."),
    _login("domain_name", "Instead of a project, the domain that the account acts in."),
    _login("domain_id", "The same, by id."),
    _login("system_scope", "Instead of a project: all, for an account of the whole system."),
    _login("trust_id", "Instead of a project, a trust."),
    _login("application_credential_id", "With auth_type v3applicationcredential: its id."),
    _login(
        "application_credential_name", "Instead of the id, its name, with the user's name or id."
    ),
    _login("application_credential_secret", "Its secret.", secret=True),
)
KEYSTONE_OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "www_authenticate_uri",
        deprecated_opts=[cfg.DeprecatedOpt("auth_uri")],
        help="Where clients get tokens, as answers with 401 tell them. Not set: auth_url.",
    ),
    cfg.StrOpt("auth_url", help="Where the catalog itself logs in."),
    cfg.StrOpt(
        "auth_type",
        default=_DEFAULTS.auth_type,
        deprecated_opts=[cfg.DeprecatedOpt("auth_plugin")],
        help=f"How it logs in: {', '.join(AUTH_TYPES)}.",
    ),
    *LOGIN_OPTIONS,
    cfg.StrOpt(
        "interface",
        default=_DEFAULTS.interface,
        help="Which endpoint of Keystone is asked about tokens: public, internal or admin.",
    ),
    cfg.StrOpt("region_name", help="The region of that endpoint. Not set: any."),
    cfg.StrOpt("cafile", help="Authorities of Keystone's certificate. Not set: the system's."),
    truth("insecure", "Do not look at Keystone's certificate."),
    cfg.StrOpt("certfile", help="A certificate that Keystone wants of the catalog."),
    cfg.StrOpt("keyfile", help="Its key."),
    integer(
        "http_connect_timeout",
        _DEFAULTS.request_seconds,
        "Seconds that Keystone has for an answer; then the caller's is 503.",
        1,
    ),
    integer(
        "http_request_max_retries",
        _DEFAULTS.retries,
        "How often a connection to Keystone is tried again.",
        0,
    ),
    integer(
        "token_cache_time",
        _DEFAULTS.cache_seconds,
        "Seconds for which a good token is believed; a revoked one is taken for as long. -1: every request asks Keystone.",
    ),
    cfg.ListOpt(
        "memcached_servers",
        deprecated_opts=[cfg.DeprecatedOpt("memcache_servers")],
        default=[],
        help="Accepted, and not used: each process remembers tokens in its own memory.",
    ),
    cfg.ListOpt(
        "service_token_roles",
        default=sorted(_DEFAULTS.service_roles),
        help="Roles of services: with a token of one of them in X-Service-Token, a user's token that has ended is good.",
    ),
    truth(
        "service_token_roles_required",
        "Other tokens in X-Service-Token mean nothing.",
        default=_DEFAULTS.service_roles_required,
    ),
    cfg.StrOpt(
        "service_type",
        help="The catalog's type in Keystone, mostly image: without it, application credentials with access rules are refused.",
    ),
    truth(
        "delay_auth_decision",
        "Accepted, and without meaning here: whatever is below /v2 needs a token.",
    ),
    truth(
        "include_service_catalog",
        "Accepted, and without meaning here: nothing that is done for a caller needs the caller's catalog.",
        default=True,
    ),
)


def read_keystone(group: Any) -> KeystoneSettings:
    """Take the section as oslo.config has read it; `ConfigError` says what is missing."""
    return replace(
        read_account(group, "keystone_authtoken", group.interface),
        www_authenticate_uri=group.www_authenticate_uri or "",
        request_seconds=group.http_connect_timeout,
        retries=group.http_request_max_retries,
        cache_seconds=group.token_cache_time,
        memcached_servers=tuple(group.memcached_servers),
        service_roles=frozenset(role.lower() for role in group.service_token_roles),
        service_roles_required=group.service_token_roles_required,
        service_type=group.service_type,
    )


def read_account(group: Any, section: str, interface: str) -> KeystoneSettings:
    """Take from a section who logs in, and where; `ConfigError` says what is missing."""
    if not group.auth_url:
        raise ConfigError(f"[{section}] auth_url: {_NEEDED_BY[section]} needs it")
    if group.auth_type not in AUTH_TYPES:
        raise ConfigError(
            f"[{section}] auth_type = {group.auth_type} is not one of {', '.join(AUTH_TYPES)}"
        )
    login = {
        option.dest: value for option in LOGIN_OPTIONS if (value := getattr(group, option.dest))
    }
    _require_login(section, group.auth_type, login)
    return KeystoneSettings(
        auth_url=group.auth_url.rstrip("/"),
        auth_type=group.auth_type,
        login=login,
        interface=interface,
        region=group.region_name,
        cafile=Path(group.cafile) if group.cafile else None,
        certfile=Path(group.certfile) if group.certfile else None,
        keyfile=Path(group.keyfile) if group.keyfile else None,
        insecure=group.insecure,
        section=section,
    )


def _require_login(section: str, auth_type: str, login: Mapping[str, str]) -> None:
    if auth_type == "v3applicationcredential":
        needed = (
            ("application_credential_id", "application_credential_name"),
            ("application_credential_secret",),
        )
    else:
        needed = ("username", "user_id"), ("password",)
    for names in needed:
        if not any(name in login for name in names):
            raise ConfigError(f"[{section}] auth_type = {auth_type} needs {' or '.join(names)}")
