"""How images are imported; names are Glance's but for `[cacheproxy]`, where they are ours."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from oslo_config import cfg, types

from registry.errors import ConfigError
from registry.options import integer

DEFAULT_METHODS = ("glance-direct", "web-download", "copy-image")
_METHODS = (*DEFAULT_METHODS, "glance-download")
_PROPERTIES = ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type")


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """Which ways of import there are, and where data waits for them."""

    # Who holds data that waits on this machine's disk.
    host: str = field(default_factory=socket.gethostname)
    methods: tuple[str, ...] = DEFAULT_METHODS
    staging_directory: Path = Path("/var/lib/glance/staging")
    staging_store: str | None = None  # instead of the directory: reached by every instance
    properties: tuple[str, ...] = _PROPERTIES  # prefixes of those that glance-download takes along
    task_hours: int = 48  # that a task is told of after its end


def _list(name: str, default: tuple[str, ...], help_text: str) -> cfg.Opt:
    return cfg.ListOpt(
        name,
        default=list(default),
        help=help_text,
        bounds=True,
        item_type=types.String(quotes=True),
    )


_GENERAL: tuple[cfg.Opt, ...] = (
    _list(
        "enabled_import_methods",
        DEFAULT_METHODS,
        "How images may be imported, in brackets: glance-direct (data that was staged), web-download, copy-image (to other stores), glance-download (from the Glance of another region). []: not at all, also without staging.",
    ),
    cfg.StrOpt(
        "node_staging_uri",
        help="Without enabled_backends: the directory in which data waits for its import, as file:///DIRECTORY. Left out, as [os_glance_staging_store] filesystem_store_datadir.",
    ),
    cfg.StrOpt(
        "worker_self_reference_url",
        help="What other instances know this one by, which has staged data on its disk. Not set: its host's name. Two instances on one host have different ones, or the same staging directory.",
    ),
)
_STAGING: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "filesystem_store_datadir",
        default="/var/lib/glance/staging",
        help="The directory in which data waits for its import; an import is done by the instance that has it.",
    ),
)
_STAGING_STORE = cfg.StrOpt(
    "staging_store",
    help="A store of enabled_backends in which data waits for its import, instead of a directory: every instance reaches it, so that imports go on though the instance dies that took the data.",
)
_DOWNLOAD: tuple[cfg.Opt, ...] = (
    _list(
        "extra_properties",
        _PROPERTIES,
        "Beginnings of the names of properties that glance-download takes along, in brackets.",
    ),
)
_TASKS: tuple[cfg.Opt, ...] = (
    integer("task_time_to_live", 48, "Hours that a task is told of after its end.", 0),
)
# Options in sections of others, and sections of their own.
IMPORT_SHARED = {"DEFAULT": _GENERAL, "cacheproxy": (_STAGING_STORE,)}
IMPORT_SECTIONS = {
    "os_glance_staging_store": _STAGING,
    "glance_download_properties": _DOWNLOAD,
    "task": _TASKS,
}


def read_imports(conf: Any) -> ImportSettings:
    """Take the sections as oslo.config has read them; `ConfigError` says what to change."""
    methods = tuple(conf.enabled_import_methods)
    unknown = sorted(set(methods) - set(_METHODS))
    if unknown:
        raise ConfigError(
            f"[DEFAULT] enabled_import_methods: {', '.join(unknown)} is none of "
            f"{', '.join(_METHODS)}"
        )
    directory = Path(conf.os_glance_staging_store.filesystem_store_datadir)
    if conf.node_staging_uri and not conf.enabled_backends:
        directory = _directory(conf.node_staging_uri)
    if not directory.is_absolute():
        raise ConfigError(
            f"[os_glance_staging_store] filesystem_store_datadir: {directory} is no absolute path"
        )
    return ImportSettings(
        host=conf.worker_self_reference_url or socket.gethostname(),
        methods=methods,
        staging_directory=directory,
        staging_store=conf.cacheproxy.staging_store,
        properties=tuple(conf.glance_download_properties.extra_properties),
        task_hours=conf.task.task_time_to_live,
    )


def _directory(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
        raise ConfigError("[DEFAULT] node_staging_uri is not of the form file:///DIRECTORY")
    return Path(unquote(parts.path))
