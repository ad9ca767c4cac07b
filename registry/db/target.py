"""From a database URL, as operators write it for any driver, to what our drivers are called with.

sqlite      aiosqlite
postgresql  asyncpg
mysql       asyncmy, for MariaDB too: kept (seven releases in 2026), compiled, and its answers to
            a lost connection are the codes that SQLAlchemy knows.  aiomysql 0.3.2 cannot send
            bytes with the PyMySQL of today.
"""

from __future__ import annotations

import importlib.util
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from registry.errors import ConfigError

LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 10  # for a server to take a connection, where the URL does not say

Kind: TypeAlias = Literal["sqlite", "postgresql", "mysql"]

_KINDS: dict[str, Kind] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
_DRIVERS: dict[Kind, str] = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "mysql": "asyncmy"}

# Query parameters that our drivers know under the same name.
_KEPT: dict[Kind, frozenset[str]] = {
    "sqlite": frozenset(),
    "postgresql": frozenset(
        {"host", "port", "passfile", "target_session_attrs", "prepared_statement_cache_size"}
    ),
    "mysql": frozenset({"unix_socket", "read_default_file", "read_default_group"}),
}
_TLS: dict[Kind, frozenset[str]] = {
    "sqlite": frozenset(),
    "postgresql": frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword"}),
    "mysql": frozenset(
        {
            *("ssl", "ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher", "ssl_mode"),
            *("ssl_check_hostname", "ssl_verify_cert", "ssl_verify_identity", "ssl_disabled"),
        }
    ),
}
# What we say ourselves, as utf8mb4 and the time limits of `registry.db.database`.
_SETTLED = frozenset(
    {"charset", "use_unicode", "client_encoding", "connect_timeout", "read_timeout"}
    | {"write_timeout", "plugin", "application_name", "autocommit", "timeout", "sql_mode"}
)


@dataclass(frozen=True, slots=True)
class Target:
    """A database: `arguments` go to the driver beside what the URL says."""

    kind: Kind
    url: sa.URL  # printed without its password
    arguments: dict[str, Any] = field(repr=False)


def read_target(connection: str) -> Target:
    """Read a URL; blocks for a moment, as it reads certificates.  `ConfigError` says what to do."""
    try:
        url = sa.make_url(connection)
    except (ArgumentError, ValueError):  # their text repeats the URL, with its password
        raise ConfigError("[database] connection is not a database URL") from None
    kind = _KINDS.get(url.get_backend_name())
    if kind is None:
        raise ConfigError(f"[database] connection: {url.get_backend_name()} is not supported")
    driver = _DRIVERS[kind]
    if importlib.util.find_spec(driver) is None:
        raise ConfigError(
            f"[database] connection: {driver}, the driver for {kind}, is not installed: "
            f"pip install 'cacheproxy[{kind}]'"
        )
    query = {
        name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()
    }
    kept = {name: value for name, value in url.query.items() if name in _KEPT[kind]}
    _name_dropped(kind, query)
    arguments = _ARGUMENTS[kind](query)
    return Target(kind, url.set(drivername=f"{kind}+{driver}", query=kept), arguments)


def _name_dropped(kind: Kind, query: Mapping[str, str]) -> None:
    unknown = query.keys() - _KEPT[kind] - _TLS[kind] - _SETTLED
    if unknown:
        LOG.info(
            "[database] connection: parameters of other drivers are ignored: %s",
            ", ".join(sorted(unknown)),
        )
    charset = query.get("charset", "utf8mb4").lower()
    if kind == "mysql" and charset != "utf8mb4":
        LOG.info("[database] connection: utf8mb4 is used instead of charset=%s", charset)


def _sqlite(_query: Mapping[str, str]) -> dict[str, Any]:
    return {}


def _postgresql(query: Mapping[str, str]) -> dict[str, Any]:
    name = query.get("application_name", "cacheproxy-registry")
    arguments: dict[str, Any] = {
        "timeout": _seconds(query.get("connect_timeout")),
        # Of a sum over 100,000 rows, compiling it took nine tenths of the time.
        "server_settings": {"application_name": name, "jit": "off"},
    }
    mode = query.get("sslmode", "require" if "sslrootcert" in query else None)
    if mode is None:
        return arguments  # asyncpg then tries TLS first, as libpq does
    if mode in {"disable", "allow", "prefer"}:
        return arguments | {"ssl": mode}
    if mode not in {"require", "verify-ca", "verify-full"}:
        raise ConfigError(f"[database] connection: sslmode={mode} is not known")
    verify = mode != "require" or "sslrootcert" in query
    files = _Files(
        authority=query.get("sslrootcert"),
        certificate=query.get("sslcert"),
        key=query.get("sslkey"),
        password=query.get("sslpassword"),
    )
    context = _context(files, verify=verify, verify_name=mode == "verify-full")
    return arguments | {"ssl": context}


def _mysql(query: Mapping[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "charset": "utf8mb4",
        "connect_timeout": _seconds(query.get("connect_timeout")),
    }
    mode = query.get("ssl_mode", "").upper()
    if mode == "DISABLED" or _is_true(query.get("ssl_disabled", "")):
        return arguments
    told = {name for name in query if name in _TLS["mysql"]} - {"ssl_disabled"}
    if not told or (mode == "PREFERRED" and told == {"ssl_mode"}):
        return arguments
    # As PyMySQL has it: who names an authority has the certificate verified, and the name only by
    # asking for it.
    verify = mode in {"VERIFY_CA", "VERIFY_IDENTITY"} or bool({"ssl_ca", "ssl_capath"} & told)
    if "ssl_verify_cert" in query:
        verify = _is_true(query["ssl_verify_cert"])
    names = query.get("ssl_verify_identity", query.get("ssl_check_hostname", ""))
    files = _Files(
        authority=query.get("ssl_ca"),
        directory=query.get("ssl_capath"),
        certificate=query.get("ssl_cert"),
        key=query.get("ssl_key"),
    )
    verify_name = verify and (_is_true(names) or mode == "VERIFY_IDENTITY")
    context = _context(files, verify=verify, verify_name=verify_name)
    if "ssl_cipher" in query:
        context.set_ciphers(query["ssl_cipher"])
    return arguments | {"ssl": context}


_ARGUMENTS = {"sqlite": _sqlite, "postgresql": _postgresql, "mysql": _mysql}


def _seconds(value: str | None) -> float:
    try:
        seconds = float(value or CONNECT_SECONDS)
    except ValueError:
        raise ConfigError(
            f"[database] connection: connect_timeout={value} is not a number"
        ) from None
    return seconds if seconds > 0 else CONNECT_SECONDS


def _is_true(value: str) -> bool:
    return value.lower() in {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What a TLS connection is made with."""

    authority: str | None = None
    directory: str | None = None  # of authorities
    certificate: str | None = None
    key: str | None = None
    password: str | None = field(default=None, repr=False)


def _context(files: _Files, *, verify: bool, verify_name: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=files.authority, capath=files.directory)
        context.check_hostname = verify_name
        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        if files.certificate is not None:
            context.load_cert_chain(files.certificate, files.key, files.password)
    except OSError as error:  # of which ssl.SSLError is one
        raise ConfigError(f"[database] connection: {files} cannot be used: {error}") from None
    return context
