"""The catalog's options: an operator's glance-api.conf, as it stands, read with oslo.config.

Names and defaults are Glance's, but that nothing listens beyond this machine unless told to (there
may be no authentication) and that the database has a default.  What Glance has no option for is in
`[cacheproxy]`.  Options that we do not know are named once in the log and otherwise ignored; those
whose neglect would do harm are refused.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg, types

from backends.manifest import CHUNK_BYTES
from registry.errors import ConfigError

LOG = logging.getLogger(__name__)

DEFAULT_DATABASE = "sqlite:////var/lib/cacheproxy-registry/registry.sqlite"
STORES = ("file", "http")
_FLAVORS_WITHOUT_AUTHENTICATION = frozenset({"", "caching", "cachemanagement"})


@dataclass(frozen=True, slots=True)
class DataDirectorySettings:
    """A directory of the file store; new images go to the highest `priority` that has room."""

    path: Path
    priority: int = 0


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What operators bound; -1 lifts a quota."""

    image_property_quota: int = 128
    image_tag_quota: int = 128
    image_size_cap: int = 1 << 40  # bytes
    limit_param_default: int = 25  # images on a page
    api_limit_max: int = 1000


@dataclass(frozen=True, slots=True)
class FormatSettings:
    """`[image_format]`: which formats images may have."""

    container: tuple[str, ...] = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
    disk: tuple[str, ...] = (
        *("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"),
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything, validated."""

    database: str  # SQLAlchemy's URL, as operators write it
    data_directories: tuple[DataDirectorySettings, ...]
    stores: tuple[str, ...] = ("file", "http")
    default_store: str = "file"
    host: str = "127.0.0.1"
    port: int = 9292
    public_endpoint: str | None = None
    hash_algorithm: str = "sha512"
    manifest_chunk_bytes: int = 1 << 20  # of images to come
    limits: LimitSettings = LimitSettings()
    formats: FormatSettings = FormatSettings()
    drain_seconds: float = 30.0  # how long a stop waits for requests in progress


class _Commented(types.ConfigType):
    """A type that lets a comment stand behind the value, as operators write it."""

    def __init__(self, inner: types.ConfigType) -> None:
        super().__init__(type_name=str(inner))
        self._inner = inner

    def __call__(self, value: Any) -> Any:
        return self._inner(re.sub(r"\s+#.*", "", value) if isinstance(value, str) else value)

    def __repr__(self) -> str:
        return repr(self._inner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Commented) and self._inner == other._inner

    __hash__ = None  # type: ignore[assignment]  # compared by value, as oslo.config's types are

    def _formatter(self, value: Any) -> str:
        return str(value)


def _integer(
    name: str, default: int, help_text: str, least: int = -1, most: int = (1 << 63) - 1
) -> cfg.Opt:
    return cfg.Opt(
        name, type=_Commented(types.Integer(least, most)), default=default, help=help_text
    )


_LIMITS = LimitSettings()
_FORMATS = FormatSettings()
OPTIONS: dict[str, tuple[cfg.Opt, ...]] = {
    "DEFAULT": (
        cfg.StrOpt(
            "bind_host",
            default="127.0.0.1",
            help="Address on which the catalog answers. Glance's default is 0.0.0.0; here others must be let in by hand, as there may be no authentication.",
        ),
        _integer("bind_port", 9292, "Port on which the catalog answers.", 0, 65535),
        cfg.StrOpt(
            "public_endpoint",
            help="The base URL that the list of versions names. Not set: the one that was asked.",
        ),
        cfg.StrOpt(
            "hashing_algorithm",
            default="sha512",
            help="What os_hash_value of images to come is computed with.",
        ),
        _integer(
            "image_property_quota",
            _LIMITS.image_property_quota,
            "Properties that an image may have; -1 for any number.",
        ),
        _integer(
            "image_tag_quota",
            _LIMITS.image_tag_quota,
            "Tags that an image may have; -1 for any number.",
        ),
        _integer("image_size_cap", _LIMITS.image_size_cap, "Bytes that an image may have.", 1),
        _integer(
            "limit_param_default",
            _LIMITS.limit_param_default,
            "Images on a page of a list, where the request does not say.",
            1,
        ),
        _integer(
            "api_limit_max",
            _LIMITS.api_limit_max,
            "Images on a page of a list, whatever the request says.",
            1,
        ),
        cfg.StrOpt("enabled_backends", help="Not available yet: several stores, by name."),
    ),
    "database": (
        cfg.StrOpt(
            "connection",
            default=DEFAULT_DATABASE,
            secret=True,
            help="SQLAlchemy's URL of the database: sqlite:// and an absolute path.",
        ),
    ),
    "glance_store": (
        cfg.ListOpt("stores", default=["file", "http"], help="Kinds of stores: file, http."),
        cfg.StrOpt("default_store", default="file", help="Where uploads go; one of them."),
        cfg.StrOpt(
            "filesystem_store_datadir",
            help="Directory of the file store; /var/lib/glance/images where neither this nor filesystem_store_datadirs is set.",
        ),
        cfg.MultiStrOpt(
            "filesystem_store_datadirs",
            help="Instead, several directories, one a line: path or path:priority; new images go to the highest priority that has room.",
        ),
    ),
    "cacheproxy": (
        _integer(
            "manifest_chunk_bytes",
            1 << 20,
            "Chunk size of the manifests of images to come: 262144, 1048576 or 4194304.",
        ),
    ),
    "paste_deploy": (
        cfg.StrOpt(
            "flavor",
            default="",
            help="Left out, or caching, or cachemanagement: there is no authentication yet.",
        ),
    ),
    "image_format": (
        cfg.ListOpt(
            "container_formats",
            default=list(_FORMATS.container),
            help="What container_format may be.",
        ),
        cfg.ListOpt("disk_formats", default=list(_FORMATS.disk), help="What disk_format may be."),
    ),
}


def load_settings(files: Sequence[Path]) -> Settings:
    """Read configuration files, the later over the earlier; `ConfigError` says what to change."""
    conf = cfg.ConfigOpts()
    for group, options in OPTIONS.items():
        conf.register_opts(options, group=None if group == "DEFAULT" else group)
    try:
        conf(
            args=[],
            project="cacheproxy-registry",
            default_config_files=[str(file) for file in files],
            default_config_dirs=[],
        )
        _name_unknown(files)
        return _settings(conf)
    except cfg.Error as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _settings(conf: Any) -> Settings:
    _require_available(conf)
    algorithm = conf.hashing_algorithm.lower()
    if algorithm not in hashlib.algorithms_available or algorithm.startswith("shake"):
        raise ConfigError(f"[DEFAULT] hashing_algorithm: {algorithm} is not known to Python here")
    return Settings(
        host=conf.bind_host,
        port=conf.bind_port,
        public_endpoint=conf.public_endpoint,
        database=_database(conf.database.connection),
        stores=tuple(conf.glance_store.stores),
        default_store=conf.glance_store.default_store,
        data_directories=_data_directories(conf.glance_store),
        hash_algorithm=algorithm,
        manifest_chunk_bytes=_chunk_bytes(conf.cacheproxy.manifest_chunk_bytes),
        limits=LimitSettings(
            image_property_quota=conf.image_property_quota,
            image_tag_quota=conf.image_tag_quota,
            image_size_cap=conf.image_size_cap,
            limit_param_default=conf.limit_param_default,
            api_limit_max=conf.api_limit_max,
        ),
        formats=FormatSettings(
            container=tuple(conf.image_format.container_formats),
            disk=tuple(conf.image_format.disk_formats),
        ),
    )


def _require_available(conf: Any) -> None:
    """Refuse what Glance can and we cannot, where going on without it would do harm."""
    flavor = conf.paste_deploy.flavor
    if flavor not in _FLAVORS_WITHOUT_AUTHENTICATION:
        raise ConfigError(
            f"[paste_deploy] flavor = {flavor}: authentication with Keystone is not available yet; "
            "leave the option out to serve everybody without authentication"
        )
    if conf.enabled_backends:
        raise ConfigError(
            "[DEFAULT] enabled_backends: several stores are not available yet; "
            "use [glance_store] stores, default_store and filesystem_store_datadir"
        )
    unknown = [name for name in conf.glance_store.stores if name not in STORES]
    if unknown:
        raise ConfigError(
            f"[glance_store] stores: {', '.join(unknown)} not available yet; "
            f"available are {', '.join(STORES)}"
        )
    if conf.glance_store.default_store not in conf.glance_store.stores:
        raise ConfigError(
            f"[glance_store] default_store = {conf.glance_store.default_store} "
            "is not one of [glance_store] stores"
        )


def _chunk_bytes(size: int) -> int:
    if size not in CHUNK_BYTES:
        allowed = ", ".join(map(str, CHUNK_BYTES))
        raise ConfigError(f"[cacheproxy] manifest_chunk_bytes = {size} is not one of {allowed}")
    return size


def _database(connection: str) -> str:
    scheme, separator, rest = connection.partition("://")
    if not separator:
        raise ConfigError("[database] connection is not a database URL")
    if scheme.partition("+")[0] != "sqlite":
        raise ConfigError(
            f"[database] connection: {scheme} is not available yet; use sqlite:////absolute/path"
        )
    if rest in {"", "/", "/:memory:"} or not rest.startswith("/"):
        raise ConfigError("[database] connection needs a file: sqlite:////absolute/path")
    return connection


def _data_directories(store: Any) -> tuple[DataDirectorySettings, ...]:
    """Read `filesystem_store_datadirs` (`path` or `path:priority`, repeated) or the single one."""
    several = store.filesystem_store_datadirs or []
    if several and store.filesystem_store_datadir:
        raise ConfigError(
            "[glance_store] set filesystem_store_datadir or filesystem_store_datadirs, not both"
        )
    directories: list[DataDirectorySettings] = []
    for text in several or [store.filesystem_store_datadir or "/var/lib/glance/images"]:
        path, _, priority = text.partition(":") if several else (text, "", "")
        if not Path(path).is_absolute() or not re.fullmatch(r"[0-9]{0,9}", priority):
            raise ConfigError(f"[glance_store] not an absolute data directory: {text}")
        directories.append(DataDirectorySettings(Path(path), int(priority or 0)))
    return tuple(directories)


def _name_unknown(files: Sequence[Path]) -> None:
    unknown: dict[str, set[str]] = {}
    for file in files:
        sections: dict[str, dict[str, list[str]]] = {}
        cfg.ConfigParser(str(file), sections).parse()
        for section, values in sections.items():
            known = {option.name for option in OPTIONS.get(section, ())}
            unknown.setdefault(section, set()).update(values.keys() - known)
    shown = [f"[{group}] {', '.join(sorted(names))}" for group, names in unknown.items() if names]
    if shown:
        LOG.info("options that this program does not know are ignored: %s", "; ".join(shown))
