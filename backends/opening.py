"""From options to a store: the one table of drivers, each imported when it is first opened."""

from __future__ import annotations

from types import MappingProxyType
from typing import assert_never, overload

from backends.base import PruneStore, ReadStore
from backends.errors import UnsupportedError
from backends.guard import Guard
from backends.location import Location
from backends.options import (
    FilesystemOptions,
    Handling,
    HttpOptions,
    MemoryOptions,
    StoreOptions,
)
from backends.rbd.options import RbdOptions
from backends.s3.options import S3Options
from backends.swift.options import SwiftOptions
from backends.watching import Observer, Watched
from backends.wrapping import Limited, Retrying, wrap

# Whose options open a location of that scheme (Glance's names, `memory` apart).
SCHEMES: MappingProxyType[str, type[StoreOptions]] = MappingProxyType(
    {
        "file": FilesystemOptions,
        "filesystem": FilesystemOptions,
        "http": HttpOptions,
        "https": HttpOptions,
        "memory": MemoryOptions,
        "rbd": RbdOptions,
        "s3": S3Options,
        "s3+http": S3Options,
        "s3+https": S3Options,
        "swift": SwiftOptions,
        "swift+config": SwiftOptions,
        "swift+http": SwiftOptions,
        "swift+https": SwiftOptions,
    }
)


def options_type(location: Location) -> type[StoreOptions]:
    """Return the options that open the location's kind of store; UnsupportedError if none do."""
    try:
        return SCHEMES[location.scheme]
    except KeyError:
        raise UnsupportedError(f"{location}: no driver for this kind of store") from None


@overload
def open_store(
    options: FilesystemOptions | MemoryOptions | RbdOptions | S3Options | SwiftOptions,
    handling: Handling = ...,
    observer: Observer | None = ...,
    guard: Guard | None = ...,
) -> PruneStore: ...
@overload
def open_store(
    options: HttpOptions,
    handling: Handling = ...,
    observer: Observer | None = ...,
    guard: Guard | None = ...,
) -> ReadStore: ...
def open_store(
    options: StoreOptions,
    handling: Handling = Handling(),  # noqa: B008  # frozen
    observer: Observer | None = None,
    guard: Guard | None = None,
) -> ReadStore:
    """Return the driver with these options, limited and retried as `handling` says.

    Touches neither disk (but for a CA file) nor network.  ValueError for options that make no
    sense.  A pausing retry holds no place of the limit.  `observer` hears of every attempt.
    `guard` is asked before anything is read from the web.
    """
    return wrap(
        _driver(options, guard),
        *(() if observer is None else (Watched(observer),)),
        Limited(handling.at_once, handling.wait_seconds),
        Retrying(handling.attempts, handling.first_pause_seconds, handling.pause_seconds_max),
    )


def _driver(options: StoreOptions, guard: Guard | None = None) -> ReadStore:
    # Imported here: a driver may need an SDK that only those who use it have installed.
    match options:
        case MemoryOptions():
            from backends.memory import MemoryStore  # noqa: PLC0415

            return MemoryStore(options)
        case FilesystemOptions():
            from backends.file.store import FilesystemStore  # noqa: PLC0415

            return FilesystemStore(options)
        case HttpOptions():
            from backends.http.store import HttpStore  # noqa: PLC0415

            return HttpStore(options, guard)
        case RbdOptions():
            try:
                from backends.rbd.store import RbdStore  # noqa: PLC0415
            except ModuleNotFoundError as error:
                raise UnsupportedError(
                    f"an RBD store needs {error.name}: apt install python3-rbd python3-rados, "
                    "and a Python of Debian's version that sees them"
                ) from None
            return RbdStore(options)
        case S3Options():
            try:
                from backends.s3.store import S3Store  # noqa: PLC0415
            except ModuleNotFoundError as error:
                raise UnsupportedError(
                    f"an S3 store needs {error.name}: pip install 'cacheproxy[s3]'"
                ) from None
            return S3Store(options)
        case SwiftOptions():
            from backends.swift.store import SwiftStore  # noqa: PLC0415

            return SwiftStore(options)
        case _:
            assert_never(options)
