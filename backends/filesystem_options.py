"""Glance's own options of the file store, as they stand in its configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from backends.glance_values import number
from backends.options import DataDirectory, FilesystemOptions

DATADIR = "/var/lib/glance/images"  # where Glance keeps images unless told otherwise


def filesystem_options(values: Mapping[str, str]) -> FilesystemOptions:
    """Read `filesystem_*` of a section of `glance-api.conf`; other options are left.

    Of `filesystem_store_datadirs`, which may be given several times, one stands on a line.
    ValueError for what Glance refuses.
    """
    permissions = number(values, "filesystem_store_file_perm", 0)
    return FilesystemOptions(
        directories=_directories(values),
        permissions=_octal(permissions) if permissions else None,
    )


def _directories(values: Mapping[str, str]) -> tuple[DataDirectory, ...]:
    one = values.get("filesystem_store_datadir", "").strip()
    several = values.get("filesystem_store_datadirs", "").splitlines()
    if several and one:
        raise ValueError("set filesystem_store_datadir or filesystem_store_datadirs, not both")
    if not several:
        return (DataDirectory(_absolute("filesystem_store_datadir", one or DATADIR)),)
    directories = []
    for text in several:
        path, _, priority = text.strip().partition(":")
        if not re.fullmatch(r"[0-9]{0,9}", priority, re.ASCII):
            raise ValueError(f"filesystem_store_datadirs is not path:priority: {text.strip()!r}")
        directory = _absolute("filesystem_store_datadirs", path.strip())
        directories.append(DataDirectory(directory, int(priority or 0)))
    return tuple(directories)


def _absolute(name: str, text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"{name} is not an absolute path: {text!r}")
    return path


def _octal(digits: int) -> int:
    try:
        return int(str(digits), 8)
    except ValueError:
        raise ValueError(f"filesystem_store_file_perm is not octal: {digits}") from None
