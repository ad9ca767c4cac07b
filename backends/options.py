"""The options of each driver, and how a store is handled.  Imports no driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backends.rbd.options import RbdOptions
from backends.s3.options import S3Options
from backends.swift.options import SwiftOptions

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """The in-memory reference store."""

    capacity_bytes: int = 1024 * MIB
    piece_bytes: int = MIB  # the longest piece of a read


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Where the file store keeps images; new ones go to the highest `priority` that has room."""

    path: Path
    priority: int = 0


@dataclass(frozen=True, slots=True)
class FilesystemOptions:
    """Glance's `filesystem_*`, and the bounds of the file driver."""

    directories: tuple[DataDirectory, ...]
    permissions: int | None = None  # mode bits of a new file; None: what the umask leaves
    metadata: tuple[Mapping[str, str], ...] = ()  # of locations, by the "mountpoint" in each
    thin: bool = False  # zeros are not written
    piece_bytes: int = MIB  # the longest piece of a read
    sync_bytes: int = 256 * MIB  # unsynced bytes of one writer, so that no commit waits for long
    threads: int = 10  # calls in one directory at once
    hang_seconds: float = 60.0  # a call that takes longer has failed (NFS without its server)


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Glance's `https_*` and `http_proxy_information`, and the bounds of the http driver."""

    ca_file: Path | None = None  # trusted instead of the system's authorities
    verify_certificates: bool = True  # not (Glance's https_insecure)
    # The proxy for addresses of each scheme, as an http URL, with credentials or not.
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    connections: int = 100  # at once, to all servers together
    connect_seconds: float = 10.0
    stall_seconds: float = 60.0  # the longest silence, before or within an answer
    buffer_bytes: int = MIB  # received and not yet read, per answer


StoreOptions = (
    MemoryOptions | FilesystemOptions | HttpOptions | RbdOptions | S3Options | SwiftOptions
)


@dataclass(frozen=True, slots=True)
class Handling:
    """How much of a store is used at once, and how often a failing operation is tried."""

    at_once: int = 64  # open reads and writes, and calls
    wait_seconds: float = 60.0  # for one of those places
    attempts: int = 4
    first_pause_seconds: float = 0.2  # doubles with each failure, with jitter
    pause_seconds_max: float = 5.0
