"""Unix socket addresses for paths of any length.

An address holds 107 bytes.  A longer path is reached through a descriptor of its directory:
`/proc/self/fd/<n>/<name>`, so only the name itself is bounded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS_BYTES_MAX = 107  # sun_path without its final zero
NAME_BYTES_MAX = ADDRESS_BYTES_MAX - len("/proc/self/fd/1048576/")
SOCKET_NAME = "admin.sock"


def default_socket(directory: Path) -> Path:
    """Return where the socket is, of a cache in this directory, unless it is configured."""
    return directory / SOCKET_NAME


@contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """Open the directory of a socket; OSError if that cannot be done."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield directory
    finally:
        os.close(directory)


def address(directory: int, name: str) -> str:
    """Return an address of a socket `name` in an open directory."""
    return f"/proc/self/fd/{directory}/{name}"
