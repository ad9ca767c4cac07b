"""Listening sockets that systemd made for us, as sd_listen_fds(3) describes it.

Connections that come while we are not there wait in them, so that a restart refuses nobody.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from cacheproxy.errors import ConfigError
from cacheproxy.processes.orders import ConnectionKind

FIRST_FD = 3

# By `FileDescriptorName=`; without one systemd takes the unit's name, and systemd-socket-activate
# says that it knows none.
_KINDS: Mapping[str, ConnectionKind] = {
    "api": "api",
    "cacheproxy.socket": "api",
    "unknown": "api",
    "": "api",
    "metrics": "metrics",
    "cacheproxy-metrics.socket": "metrics",
}


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listening socket that was there before us."""

    sock: socket.socket
    kind: ConnectionKind


def take(environ: MutableMapping[str, str]) -> list[Inherited]:
    """Take the sockets meant for this process, and all word of them out of the environment.

    ConfigError, and none is kept, where one of them is nothing on which we could listen.
    """
    pid, count, names = (
        environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if pid != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return []  # they were another process's, perhaps our shell's
    told = names.split(":") if names else []
    socks: list[socket.socket] = []
    try:
        for fd in range(FIRST_FD, FIRST_FD + int(count)):
            socks.append(_socket(fd))  # noqa: PERF401  (closed below on a failure)
        told += [""] * (len(socks) - len(told))
        return [Inherited(sock, _kind(sock, name)) for sock, name in zip(socks, told, strict=False)]
    except BaseException:
        for sock in socks:
            sock.close()
        raise


def _socket(fd: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigError(
            f"systemd passed descriptor {fd}, which is no socket: {error.strerror}"
        ) from error
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def _kind(sock: socket.socket, name: str) -> ConnectionKind:
    """Return what a listening socket is for."""
    kind = _KINDS.get(name)
    if kind is None:
        raise ConfigError(
            f"systemd passed a socket named {name!r}: "
            "set FileDescriptorName=api or FileDescriptorName=metrics in its .socket unit"
        )
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        raise ConfigError(
            f"systemd passed {name!r}, on which we cannot listen: "
            "use ListenStream= and Accept=no in its .socket unit"
        )
    return kind
