"""The stores that a configuration of Glance names: one `[glance_store]`, or several by name.

    [glance_store] stores = file,http           one store of each kind, all in this section
    [DEFAULT] enabled_backends = fast:rbd,…     any number, each in the section of its name;
                                                what [backend_defaults] sets holds for all of them

Reads the `swift_store_config_file` and the `rbd_store_ceph_conf` where they are named, and else does
no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from backends.file.options import filesystem_options
from backends.glance_options import OF_EACH, OPTIONS_OF
from backends.glance_sections import DEFAULT, GlanceSections, Sections
from backends.http.options import http_options
from backends.options import StoreOptions
from backends.rbd.options import rbd_options
from backends.s3.options import s3_options
from backends.swift.settings import swift_options

__all__ = [
    "KINDS",
    "Sections",
    "StoreSettings",
    "StoresSettings",
    "known_options",
    "read_stores",
]

# The kinds of stores, by Glance's names, and what reads the options of each.
KINDS: MappingProxyType[str, Callable[[Mapping[str, str]], StoreOptions]] = MappingProxyType(
    {
        "file": filesystem_options,
        "http": http_options,
        "swift": swift_options,
        "s3": s3_options,
        "rbd": rbd_options,
    }
)
# Glance's default_store names a scheme, of which a kind may have several.
_SCHEMES = MappingProxyType(
    {
        "filesystem": "file",
        "https": "http",
        "swift+http": "swift",
        "swift+https": "swift",
        "swift+config": "swift",
    }
)

SINGLE = "glance_store"
SHARED = "backend_defaults"
RESERVED_PREFIX = "os_glance_"  # of stores that Glance keeps for itself


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """One store.  `name` is the operator's, or the kind's where there is one store of each kind."""

    name: str
    kind: str  # file, http, swift, …
    options: StoreOptions
    weight: int = 0  # downloads: the higher first
    description: str = ""


@dataclass(frozen=True, slots=True)
class StoresSettings:
    """All stores, in the operator's order."""

    stores: tuple[StoreSettings, ...]
    default: str  # name of the store that takes new data
    several: bool  # whether `enabled_backends` names them


def read_stores(sections: Sections, leaving_out: Collection[str] = ()) -> StoresSettings:
    """Read what `oslo_config.cfg.ConfigParser` found; stores of the kinds `leaving_out` are left out.

    ValueError: `[section] option: what is wrong; what to do`, without any secret.
    """
    read = GlanceSections(sections)
    backends = read.value(DEFAULT, "enabled_backends").strip()
    return _several(read, backends, leaving_out) if backends else _single(read, leaving_out)


def known_options(sections: Sections) -> Mapping[str, frozenset[str]]:
    """Return the options of stores that mean something here, by section, in lower case.

    Of sections that Glance has for stores of its own, such as the staged data's, all are known.
    """
    every = frozenset().union(*OPTIONS_OF.values())
    known = {SINGLE: every, SHARED: every}
    for pair in _list(GlanceSections(sections).value(DEFAULT, "enabled_backends")):
        name, _, kind = (part.strip() for part in pair.partition(":"))
        known[name.lower()] = OF_EACH | OPTIONS_OF.get(kind, every)
    for section in sections:
        if section.startswith(RESERVED_PREFIX):
            known[section] = OPTIONS_OF["file"]
    return known


def _single(read: GlanceSections, leaving_out: Collection[str]) -> StoresSettings:
    names = tuple(dict.fromkeys(_list(read.value(SINGLE, "stores", "file,http"))))
    kinds = [name for name in names if name not in leaving_out]
    for kind in kinds:
        _require_kind(f"[{SINGLE}] stores", kind)
    named = read.value(SINGLE, "default_store", "file")
    default = _SCHEMES.get(named, named)
    if default not in names:
        raise ValueError(
            f"[{SINGLE}] default_store: {named} is not one of [{SINGLE}] stores; "
            f"name one of {', '.join(names)}, or add it there"
        )
    stores = tuple(StoreSettings(name, name, _options(read, (SINGLE,), name)) for name in kinds)
    return StoresSettings(stores, default, several=False)


def _several(read: GlanceSections, backends: str, leaving_out: Collection[str]) -> StoresSettings:
    names: list[str] = []
    stores: list[StoreSettings] = []
    for pair in _list(backends):
        name, colon, kind = (part.strip() for part in pair.partition(":"))
        where = f"[{DEFAULT}] enabled_backends"
        if not (name and colon and kind):
            raise ValueError(f"{where}: {pair} is not NAME:KIND; write e.g. fast:rbd, cheap:file")
        if name in names:
            raise ValueError(f"{where}: {name} is there twice; give each store a name of its own")
        if name.startswith(RESERVED_PREFIX):
            raise ValueError(
                f"{where}: names that begin with {RESERVED_PREFIX} are reserved; rename {name}"
            )
        names.append(name)
        if kind in leaving_out:
            continue
        _require_kind(where, kind)
        options = _options(read, (SHARED, name), kind)
        weight = _weight(name, read.value(name, "weight", "0"))
        description = read.value(name, "store_description")
        stores.append(StoreSettings(name, kind, options, weight, description))
    default = read.value(SINGLE, "default_backend")
    if default not in names:
        problem = f"{default} is not one of [{DEFAULT}] enabled_backends" if default else "not set"
        raise ValueError(
            f"[{SINGLE}] default_backend: {problem}; name the store that takes new images, "
            f"one of {', '.join(names)}"
        )
    return StoresSettings(tuple(stores), default, several=True)


def _require_kind(where: str, kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"{where}: {kind} is not available; available are {', '.join(KINDS)}")


def _options(read: GlanceSections, sections: Sequence[str], kind: str) -> StoreOptions:
    """Read the options of one store, the later sections over the earlier."""
    values: dict[str, str] = {}
    for section in sections:
        values |= read.chosen(section, OPTIONS_OF[kind])
    try:
        return KINDS[kind](values)
    except ValueError as error:
        raise ValueError(f"[{sections[-1]}] {error}") from None


def _weight(section: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"[{section}] weight: {text!r} is not a number; the store with the highest is read first"
        ) from None


def _list(text: str) -> list[str]:
    return [part for each in text.split(",") if (part := each.strip())]
