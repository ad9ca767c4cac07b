"""Sockets of systemd: which are taken for what, and what is said of those that are useless."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cacheproxy.config import Settings, UpstreamSettings
from cacheproxy.errors import ConfigError
from cacheproxy.processes import inherited, listeners
from harness.program import REPOSITORY

# In a process of its own, as the descriptors are 3 and up.
TAKE = """
import os, sys
from cacheproxy.errors import ConfigError
from cacheproxy.processes import inherited
os.environ["LISTEN_PID"] = str(os.getpid())
try:
    for each in inherited.take(os.environ):
        print(each.kind, each.sock.getsockname(), each.sock.getblocking(), each.sock.get_inheritable())
except ConfigError as error:
    print(error)
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


def taken(*socks: int, **variables: str) -> list[str]:
    """Return what a program takes that is started with these descriptors as 3 and up."""
    moves = "".join(f" {3 + n}<&{fd}" for n, fd in enumerate(socks))
    done = subprocess.run(
        ["bash", "-c", f'exec "$@"{moves}', "bash", sys.executable, "-W", "ignore", "-c", TAKE],
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "LISTEN_FDS": str(len(socks)),
            **variables,
        },
        pass_fds=socks,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *lines, left = done.stdout.splitlines()
    assert left == "[]"
    return lines


def test_sockets_are_known_by_their_names(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        socket.socket(socket.AF_UNIX) as three,
    ):
        three.bind(str(tmp_path / "sock"))
        three.listen()
        fds = (one.fileno(), two.fileno(), three.fileno())
        assert taken(*fds, LISTEN_FDNAMES="metrics:api:cacheproxy.socket") == [
            f"metrics {one.getsockname()} False False",
            f"api {two.getsockname()} False False",
            f"api {three.getsockname()} False False",
        ]
        assert taken(fds[0]) == [f"api {one.getsockname()} False False"]  # without any name


def test_what_cannot_be_listened_on_is_refused() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as good,
        socket.socket() as idle,
        Path(os.devnull).open() as file,
    ):
        assert "use ListenStream= and Accept=no" in taken(good.fileno(), idle.fileno())[0]
        assert "which is no socket" in taken(good.fileno(), file.fileno())[0]
        assert "which is no socket" in taken(good.fileno(), LISTEN_FDS="9")[0]
        (complaint,) = taken(good.fileno(), LISTEN_FDNAMES="web")
        assert complaint.startswith("systemd passed a socket named 'web': set FileDescriptorName=")


def test_those_of_another_process_are_let_be() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "api", "HOME": "/"}
    assert inherited.take(environ) == []
    assert environ == {"HOME": "/"}


def test_they_come_before_the_settings_and_a_difference_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        for configured, told in ((port, False), (1, True)):
            settings = Settings(UpstreamSettings("http://glance.example"), port=configured)
            given = inherited.Inherited(sock.dup(), "api")
            with caplog.at_level(logging.WARNING):
                bound = listeners.listen(settings, [given])
            assert [(each.kind, each.sock is given.sock) for each in bound] == [
                ("api", True),
                ("metrics", False),
            ]
            assert bound[0].url == f"http://127.0.0.1:{port}"
            assert ("bind_port = 1 is not used: systemd listens for us" in caplog.text) == told
            for each in bound:
                each.sock.close()


def test_all_are_closed_where_another_address_cannot_be_had() -> None:
    given = socket.create_server(("127.0.0.1", 0))
    settings = Settings(UpstreamSettings("http://glance.example"))
    settings = Settings(settings.upstream, metrics=type(settings.metrics)(host="nobody.invalid"))
    with pytest.raises(ConfigError, match="does not resolve"):
        listeners.listen(settings, [inherited.Inherited(given, "api")])
    assert given.fileno() == -1
