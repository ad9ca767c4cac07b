"""`[database]`: which database there is, and how patient its users are; names are oslo.db's.

Defaults are oslo.db's but for three: a process serves everybody from one event loop, so that ten
connections above `max_pool_size` are many, and a request is not held up for minutes, whatever the
retries: `registry.db.database`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oslo_config import cfg

from registry.errors import ConfigError
from registry.options import integer, truth

DEFAULT_CONNECTION = "sqlite:////var/lib/cacheproxy-registry/registry.sqlite"


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """`connection` is SQLAlchemy's URL, as operators write it; times are in seconds."""

    connection: str = field(repr=False)  # it has a password in it
    max_pool_size: int = 5
    max_overflow: int = 10
    pool_timeout: int = 30
    connection_recycle_time: int = 3600
    max_retries: int = 10  # of reaching the database at the start; -1: for ever
    retry_interval: int = 10
    db_max_retries: int = 20  # of one transaction; -1: as long as there is time
    db_retry_interval: int = 1
    db_inc_retry_interval: bool = True
    db_max_retry_interval: int = 10
    mysql_sql_mode: str = "TRADITIONAL"  # empty: the server's own
    mysql_wsrep_sync_wait: int | None = None  # None: the server's own


_DEFAULTS = DatabaseSettings(DEFAULT_CONNECTION)
DATABASE_OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "connection",
        default=DEFAULT_CONNECTION,
        secret=True,
        help="SQLAlchemy's URL of the database: sqlite:////absolute/path, postgresql://user:password@host/name or mysql://user:password@host/name; the name of a driver, as in mysql+pymysql://, does not matter.",
    ),
    integer(
        "max_pool_size",
        _DEFAULTS.max_pool_size,
        "Connections that are kept open, as many each for single questions, for reading and for writing (SQLite: one writes).",
        1,
    ),
    integer(
        "max_overflow",
        _DEFAULTS.max_overflow,
        "Connections that are opened beyond those while there is need.",
        0,
    ),
    integer(
        "pool_timeout", _DEFAULTS.pool_timeout, "Seconds that a request waits for a connection.", 1
    ),
    integer(
        "connection_recycle_time",
        _DEFAULTS.connection_recycle_time,
        "Seconds after which a connection is replaced; less than what firewalls and MySQL's wait_timeout allow.",
    ),
    integer(
        "max_retries",
        _DEFAULTS.max_retries,
        "How often a start tries again to reach the database; -1 for ever.",
    ),
    integer("retry_interval", _DEFAULTS.retry_interval, "Seconds between those tries.", 0),
    integer(
        "db_max_retries",
        _DEFAULTS.db_max_retries,
        "How often a transaction is repeated that the database broke off; in any case only for 20 seconds, then the answer is 503. -1: for that time.",
    ),
    integer(
        "db_retry_interval",
        _DEFAULTS.db_retry_interval,
        "Seconds before a transaction is repeated once more because the database is away. After a deadlock it is milliseconds.",
        0,
    ),
    truth(
        "db_inc_retry_interval",
        "Double that interval each time.",
        default=_DEFAULTS.db_inc_retry_interval,
    ),
    integer(
        "db_max_retry_interval",
        _DEFAULTS.db_max_retry_interval,
        "What it grows to, in seconds.",
        0,
    ),
    cfg.StrOpt(
        "mysql_sql_mode",
        default=_DEFAULTS.mysql_sql_mode,
        help="sql_mode of MySQL's sessions. Empty: the server's own.",
    ),
    integer(
        "mysql_wsrep_sync_wait",
        None,
        "wsrep_sync_wait of Galera's sessions: 1 lets a read wait for what other nodes have committed. Not set: the server's own.",
        0,
    ),
)


def read_database(group: Any) -> DatabaseSettings:
    """Take the section as oslo.config has read it."""
    _require_url(group.connection)
    return DatabaseSettings(
        **{option.dest: getattr(group, option.dest) for option in DATABASE_OPTIONS}
    )


def _require_url(connection: str) -> None:
    scheme, separator, rest = connection.partition("://")
    if not separator:
        raise ConfigError("[database] connection is not a database URL")
    engine = scheme.partition("+")[0]
    if engine not in {"sqlite", "postgresql", "postgres", "mysql", "mariadb"}:
        raise ConfigError(
            f"[database] connection: {engine} is not supported; use sqlite, postgresql or mysql"
        )
    if engine == "sqlite" and (rest in {"", "/", "/:memory:"} or not rest.startswith("/")):
        raise ConfigError("[database] connection needs a file: sqlite:////absolute/path")
