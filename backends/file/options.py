"""Glance's own options of the file store, as they stand in its configuration."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from backends.glance_values import number, truth
from backends.options import DataDirectory, FilesystemOptions

DATADIR = "/var/lib/glance/images"  # where Glance keeps images unless told otherwise


PIECE_BYTES_MIN = 64 << 10  # Glance's own filesystem_store_chunk_size; shorter pieces cost too much


def filesystem_options(values: Mapping[str, str]) -> FilesystemOptions:
    """Read `filesystem_*` of a section of `glance-api.conf`; other options are left.

    Of `filesystem_store_datadirs`, which may be given several times, one stands on a line.  Reads
    the `filesystem_store_metadata_file` too, and so blocks.  ValueError for what Glance refuses.
    `filesystem_store_timeout = 0` leaves our own bound, for nothing may wait for ever;
    `filesystem_store_threadpool_threshold` says nothing here: threads that hang are told of.
    """
    defaults = FilesystemOptions(_directories(values))
    timeout = number(values, "filesystem_store_timeout", 0)
    threads = number(values, "filesystem_store_thread_pool_size", defaults.threads)
    if not threads:
        raise ValueError("filesystem_store_thread_pool_size must be at least 1")
    piece_bytes = number(values, "filesystem_store_chunk_size", defaults.piece_bytes)
    if not piece_bytes:
        raise ValueError("filesystem_store_chunk_size must be at least 1")
    return replace(
        defaults,
        permissions=_permissions(values),
        metadata=_metadata(values),
        thin=truth(values, "filesystem_thin_provisioning"),
        piece_bytes=max(piece_bytes, PIECE_BYTES_MIN),
        threads=threads,
        hang_seconds=float(timeout) if timeout else defaults.hang_seconds,
    )


def _directories(values: Mapping[str, str]) -> tuple[DataDirectory, ...]:
    one = values.get("filesystem_store_datadir", "").strip()
    several = values.get("filesystem_store_datadirs", "").splitlines()
    if several and one:
        raise ValueError("set filesystem_store_datadir or filesystem_store_datadirs, not both")
    if not several:
        return (DataDirectory(_absolute("filesystem_store_datadir", one or DATADIR)),)
    directories: dict[Path, int] = {}
    for text in filter(None, map(str.strip, several)):
        path, _, told = text.rpartition(":") if ":" in text else (text, "", "")
        if not re.fullmatch(r"-?[0-9]{1,9}|", told.strip(), re.ASCII):
            raise ValueError(f"filesystem_store_datadirs is not path:priority: {text!r}")
        directory = _absolute("filesystem_store_datadirs", path.strip())
        priority = int(told.strip() or 0)
        if directories.setdefault(directory, priority) != priority:
            raise ValueError(f"filesystem_store_datadirs has two priorities for {directory}")
    return tuple(DataDirectory(path, priority) for path, priority in directories.items())


def _absolute(name: str, text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"{name} is not an absolute path: {text!r}")
    return path


def _permissions(values: Mapping[str, str]) -> int | None:
    """Return the mode of new files: digits that are read as octal, 0 and less for none of ours."""
    text = values.get("filesystem_store_file_perm", "0").strip()
    if re.fullmatch(r"-[0-9]+|0+", text, re.ASCII):
        return None
    if not re.fullmatch(r"[0-7]{1,5}", text, re.ASCII):
        raise ValueError(f"filesystem_store_file_perm is not octal: {text}")
    permissions = int(text, 8)
    if not permissions & stat.S_IRUSR:
        raise ValueError("filesystem_store_file_perm must let the owner read: 640, for example")
    return permissions


def _metadata(values: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """Read the file of mount points: one JSON object, or a list of them."""
    file = values.get("filesystem_store_metadata_file", "").strip()
    if not file:
        return ()
    try:
        found = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise ValueError(f"filesystem_store_metadata_file {file}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"filesystem_store_metadata_file {file}: not JSON") from None
    entries = [found] if isinstance(found, dict) else found
    if not isinstance(entries, list) or not all(map(_is_mount_point, entries)):
        raise ValueError(
            f'filesystem_store_metadata_file {file}: not {{"id": …, "mountpoint": …}}, '
            "all of it strings, or a list of such"
        )
    return tuple(entries)


def _is_mount_point(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and {"id", "mountpoint"} <= entry.keys()
        and all(isinstance(value, str) for value in entry.values())
    )
