"""The admin socket's file: made, kept from being taken from the living, removed.  Blocking.

The file appears under its name only when it can be used: bound and listening under another name,
with its mode set, then renamed.  A file whose socket nobody listens on is replaced, any other one
is let be.  Whoever replaces holds a lock on the directory meanwhile, so that of two only one does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from cacheproxy.admin.address import address, opened_directory
from cacheproxy.errors import ProxyError

MODE = 0o660
BACKLOG = 16  # clients that wait to be accepted
LOCK_SECONDS = 5.0
_LOCK_STEP_SECONDS = 0.1


class AdminSocketError(ProxyError):
    """The socket cannot be made; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class AdminSocket:
    """A listening socket and its file."""

    sock: socket.socket
    path: Path
    identity: tuple[int, int]  # device and inode of the file

    @classmethod
    def listen(cls, path: Path) -> AdminSocket:
        """Make it; AdminSocketError if that cannot be done now."""
        try:
            with opened_directory(path) as directory:
                _lock(directory, path)
                _refuse_the_living(directory, path)
                return cls(*_make(directory, path))
        except OSError as error:
            raise AdminSocketError(
                f"{path} cannot be made: {error.strerror}; see [DEFAULT] admin_socket"
            ) from error

    def there(self) -> bool:
        """Whether the file is still there, and ours."""
        try:
            return _identity(self.path.lstat()) == self.identity
        except OSError:
            return False

    def remove(self) -> None:
        """Remove the file, if it is still ours."""
        if self.there():
            with contextlib.suppress(OSError):
                self.path.unlink()


def _make(directory: int, path: Path) -> tuple[socket.socket, Path, tuple[int, int]]:
    name, hidden = path.name, f".{path.name}.new"
    with contextlib.suppress(FileNotFoundError):  # of one that was killed in between
        os.unlink(hidden, dir_fd=directory)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.bind(address(directory, hidden))
        os.chmod(hidden, MODE, dir_fd=directory)
        sock.listen(BACKLOG)
        os.rename(hidden, name, src_dir_fd=directory, dst_dir_fd=directory)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except BaseException:
        sock.close()
        raise
    return sock, path, _identity(status)


def _lock(directory: int, path: Path) -> None:
    """Lock the directory, until its descriptor is closed."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise AdminSocketError(
                    f"{path} cannot be made: somebody else holds a lock on its directory"
                ) from None
            time.sleep(_LOCK_STEP_SECONDS)
        else:
            return


def _refuse_the_living(directory: int, path: Path) -> None:
    """AdminSocketError where the name belongs to something that is not to be replaced."""
    try:
        status = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise AdminSocketError(f"{path} is no socket: remove it, or set [DEFAULT] admin_socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        code = probe.connect_ex(address(directory, path.name))
    if code not in (errno.ECONNREFUSED, errno.ENOENT):
        raise AdminSocketError(
            f"{path} belongs to another process that runs: set [DEFAULT] admin_socket"
        )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
