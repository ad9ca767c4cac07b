"""Asks the running daemon over its admin socket.  Blocking."""

from __future__ import annotations

import socket
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cacheproxy.admin import wire
from cacheproxy.admin.address import address, default_socket, opened_directory
from cacheproxy.admin.requests import AnyRequest
from cacheproxy.admin.results import ErrorCode
from cacheproxy.cli.manual import DEFAULT_FILE
from cacheproxy.cli.progress import ProgressView
from cacheproxy.config import Settings
from cacheproxy.errors import ConfigError, ProxyError

SILENCE_SECONDS_MAX = 30.0  # it says something at least every wire.ALIVE_SECONDS
_READ_BYTES = 1 << 16


class UnreachableError(ProxyError):
    """Nobody answers at the admin socket; the message says what to do."""


class RefusedError(ProxyError):
    """The daemon answered with an error."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def socket_path(arguments: Namespace) -> Path:
    """Return where the daemon listens, as told on the command line or in its configuration."""
    if arguments.socket is not None:
        path: Path = arguments.socket
        return path
    configured = settings(arguments)
    if not configured.cache.enabled:
        raise UnreachableError("[cache] enabled = false: there is no cache to ask about")
    return configured.admin_socket or default_socket(configured.cache.directory)


def settings(arguments: Namespace) -> Settings:
    """Read the daemon's configuration; ConfigError says what is wrong."""
    from cacheproxy.options import load  # noqa: PLC0415  takes longer than most commands

    try:
        return load(arguments.config_file or [DEFAULT_FILE])
    except ConfigError as error:
        raise ConfigError(
            f"{error}; give the daemon's file with --config-file, or its socket with --socket"
        ) from error


@contextmanager
def asked(path: Path, request: AnyRequest) -> Iterator[Iterator[wire.AnyEvent]]:
    """Send a request; gives what the daemon says.  Leaving early ends what was asked for.

    `UnreachableError` if nobody answers, `RefusedError` for an error of the daemon's, at any event.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(SILENCE_SECONDS_MAX)
        try:
            with opened_directory(path) as directory:
                sock.connect(address(directory, path.name))
            sock.sendall(wire.encode(wire.Envelope(wire.VERSION, request)))
        except OSError as error:
            raise _unreachable(path, error) from error
        yield _events(path, sock)


def result(path: Path, request: AnyRequest) -> msgspec.Raw:
    """Ask for something that has no progress to be shown; the result as it came."""
    with asked(path, request) as events:
        for event in events:
            if isinstance(event, wire.Result):
                return event.result
    raise UnreachableError(f"the daemon at {path} ended before it answered")


def watched(arguments: Namespace, request: AnyRequest) -> msgspec.Raw:
    """Ask for something that takes long, and show how far it is; the result as it came."""
    view = ProgressView(sys.stderr)
    try:
        with asked(socket_path(arguments), request) as events:
            for event in events:
                if isinstance(event, wire.Result):
                    return event.result
                if isinstance(event, wire.Progressed) and not arguments.json:
                    view.show(event.progress)
    finally:
        view.end()
    raise UnreachableError("the daemon ended before it answered")


def _events(path: Path, sock: socket.socket) -> Iterator[wire.AnyEvent]:
    """Give events up to the last one."""
    waiting = bytearray()
    while True:
        try:
            received = sock.recv(_READ_BYTES)
        except OSError as error:
            raise _unreachable(path, error) from error
        if not received:
            raise UnreachableError(f"the daemon at {path} ended before it answered")
        waiting += received
        *lines, rest = waiting.split(b"\n")
        if len(rest) > wire.EVENT_BYTES_MAX:
            raise wire.WireError(f"a line of more than {wire.EVENT_BYTES_MAX} bytes")
        waiting = rest
        for line in lines:
            event = wire.decode_event(bytes(line))
            if isinstance(event, wire.Error):
                raise RefusedError(event.code, event.message)
            yield event
            if isinstance(event, wire.Result):
                return


def _unreachable(path: Path, error: OSError) -> UnreachableError:
    match error:
        case PermissionError():
            hint = "it is for the daemon's user and group: use sudo, or join the group"
        case TimeoutError():
            hint = "the daemon is there but says nothing; its log may tell why"
        case FileNotFoundError() | ConnectionRefusedError():
            hint = (
                "is cacheproxy running, with this configuration, and its cache's disk well?"
                " (systemctl status cacheproxy)"
            )
        case _:
            hint = "see the daemon's log"
    reason = error.strerror or "no answer"
    return UnreachableError(f"no daemon answers at {path}: {reason}; {hint}")
