"""Which stores are read directly: those that files written for Glance configure (`[stores]`)."""

from __future__ import annotations

import dataclasses
import logging
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oslo_config import cfg, iniparser

from cacheproxy.config import StoreReadSettings
from cacheproxy.errors import ConfigError

if TYPE_CHECKING:
    from backends.configuration import StoreSettings, StoresSettings

TO_BE_NAMED = frozenset({"file", "http"})  # kinds whose locations mean something else elsewhere
NOT_READ = frozenset({"cinder", "vmware"})  # kinds of Glance's that nobody here can read

_SECRET = re.compile(r"password|secret|_key$|connection|transport_url|auth_token", re.ASCII)

log = logging.getLogger(__name__)


def stores_to_read(settings: StoreReadSettings) -> StoresSettings | None:
    """Read the files; None if there are none.  ConfigError says what is wrong with them."""
    if not settings.config_file:
        return None
    from backends.configuration import read_stores  # noqa: PLC0415  most have no such files

    files = [file for path in settings.config_file for file in _files(path)]
    if not files:
        shown = ", ".join(map(str, settings.config_file))
        raise ConfigError(
            f"[stores] config_file = {shown}: there is no file there that ends with .conf"
        )
    sections: dict[str, dict[str, list[str]]] = {}
    for file in files:
        _parse(file, sections)
    named = ", ".join(map(str, files))
    try:
        found = read_stores(sections, NOT_READ)
    except ValueError as error:
        raise ConfigError(f"[stores] config_file = {named}: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"[stores] config_file = {named}: {error.filename} cannot be read: {error.strerror}"
        ) from error
    chosen = _chosen(found.stores, settings.read)
    if not chosen:
        raise ConfigError(
            f"[stores] config_file = {named}: stores of the kinds file and http are read only where"
            f" [stores] read names them; it could name {_names(found.stores) or 'none'}"
        )
    return dataclasses.replace(found, stores=chosen)


def within(found: StoresSettings, memory_bytes: int) -> StoresSettings:
    """Return them so that no store holds more than this of what it has read ahead."""
    from backends.rbd.options import RbdOptions  # noqa: PLC0415  (as above)

    stores = list(found.stores)
    for place, each in enumerate(stores):
        if isinstance(each.options, RbdOptions):
            ahead = min(each.options.reads_ahead_bytes, memory_bytes)
            options = dataclasses.replace(each.options, reads_ahead_bytes=ahead)
            stores[place] = dataclasses.replace(each, options=options)
    return dataclasses.replace(found, stores=tuple(stores))


def _chosen(stores: Sequence[StoreSettings], names: Sequence[str]) -> tuple[StoreSettings, ...]:
    if not names:
        return tuple(each for each in stores if each.kind not in TO_BE_NAMED)
    if unknown := set(names) - {each.name for each in stores}:
        raise ConfigError(
            f"[stores] read: there is no store {', '.join(sorted(unknown))};"
            f" the files have {_names(stores)}"
        )
    return tuple(each for each in stores if each.name in names)


def _names(stores: Sequence[StoreSettings]) -> str:
    return ", ".join(each.name for each in stores)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.glob("*.conf"))
    else:
        yield path


def _parse(file: Path, sections: dict[str, dict[str, list[str]]]) -> None:
    """Add what stands in a file; what a later file sets counts (of a list: all of it)."""
    option = f"[stores] config_file = {file}"
    found: dict[str, dict[str, list[str]]] = {}
    try:
        cfg.ConfigParser(str(file), found).parse()
        mode = file.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{option}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{option}: is not UTF-8 text") from error
    except iniparser.ParseError as error:
        raise ConfigError(f"{option}: line {error.lineno}: {error.msg}") from error
    if mode & stat.S_IROTH and any(_SECRET.search(key) for part in found.values() for key in part):
        log.warning("%s: everybody here may read its secrets; chmod o= %s", option, file)
    for name, options in found.items():
        sections.setdefault(name, {}).update(options)
