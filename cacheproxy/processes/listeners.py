"""The sockets on which clients arrive.  They are bound before anything is started, and stay."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cacheproxy.config import Settings
from cacheproxy.errors import ConfigError
from cacheproxy.processes.inherited import Inherited
from cacheproxy.processes.orders import ConnectionKind

BACKLOG = 4096  # connections that wait to be accepted; the kernel may allow less (somaxconn)

_EXPLANATIONS = {
    errno.EADDRINUSE: "is in use; stop the other program (`ss -ltnp` names it) or choose another",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
    errno.EACCES: "may not be used without privileges (CAP_NET_BIND_SERVICE); choose 1024 or more",
}
_NO_SUCH_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, not blocking, and what its connections are for."""

    sock: socket.socket
    kind: ConnectionKind
    tls: bool = False  # what is spoken on it

    @property
    def url(self) -> str:
        """Where clients find it."""
        address = self.sock.getsockname()
        if self.sock.family == socket.AF_UNIX:
            return f"unix:{os.fsdecode(address)}"
        host, port = address[:2]
        scheme = "https" if self.tls else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def listen(settings: Settings, inherited: Sequence[Inherited]) -> list[Listener]:
    """Listen for clients of both kinds; ConfigError if an address cannot be had, then on none.

    Where systemd listens for one kind, its sockets are used, and the settings' addresses are not.
    """
    places: list[tuple[ConnectionKind, str, str, int]] = [
        ("api", "DEFAULT", settings.host, settings.port),
        ("metrics", "metrics", settings.metrics.host, settings.metrics.port),
    ]
    with_tls = settings.cert_file is not None
    listeners = [
        Listener(each.sock, each.kind, tls=with_tls and each.kind == "api") for each in inherited
    ]
    try:
        for kind, section, host, port in places:
            option = f"[{section}] bind_host = {host}, bind_port = {port}"
            given = [listener for listener in listeners if listener.kind == kind]
            if given:
                _compare(given, host, port, option)
                continue
            for sock in _bind(host, port, option):
                tls = with_tls and kind == "api"
                listeners.append(Listener(sock, kind, tls))
    except BaseException:
        for listener in listeners:
            listener.sock.close()
        raise
    return listeners


def _compare(given: Sequence[Listener], host: str, port: int, option: str) -> None:
    """Tell an operator who changed one of two places that the other one holds."""
    if any(
        each.sock.family != socket.AF_UNIX and each.sock.getsockname()[:2] == (host, port)
        for each in given
    ):
        return
    log.warning(
        "%s is not used: systemd listens for us at %s; change ListenStream= of the .socket unit,"
        " or stop that unit to have the option hold",
        option,
        ", ".join(each.url for each in given),
    )


def _bind(host: str, port: int, option: str) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(f"{option}: the name does not resolve: {error.strerror}") from error
    bound = 0
    for position, (family, _, _, _, address) in enumerate(found):
        try:
            sock = _listen(family, (address[0], port, *address[2:]))
        except OSError as error:
            # A name like localhost may have an address of a family that this machine does without.
            last = position == len(found) - 1
            if error.errno in _NO_SUCH_FAMILY and (bound or not last):
                continue
            known = _EXPLANATIONS.get(error.errno or 0)
            raise ConfigError(f"{option}: {known or os.strerror(error.errno or 0)}") from error
        bound += 1
        port = sock.getsockname()[1]  # all addresses of a name share one port, also a free one
        yield sock


def _listen(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # :: takes IPv4 as well
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
