"""The checks before a start: what is refused, what only warned about, what passes in silence."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cacheproxy import startchecks
from cacheproxy.config import UpstreamSettings
from cacheproxy.errors import ConfigError

GLANCE = json.dumps(
    {
        "versions": [
            {"id": "v2.17", "status": "CURRENT", "links": []},
            {"id": "v2.0", "status": "SUPPORTED", "links": []},
        ]
    }
)
KEYSTONE = json.dumps({"versions": {"values": [{"id": "v3.14", "status": "stable"}]}})
CINDER = json.dumps({"versions": [{"id": "v3.0", "status": "CURRENT"}]})
HTML = "<html><body>It works!</body></html>"

Pages = dict[str, tuple[int, str]]
Serve = Callable[[Pages], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve these pages by path, 404 for others; return the URL."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def begin(pages: Pages) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = pages.get(self.path, (404, "not here"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield begin
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "pages",
    [
        {"/versions": (200, GLANCE)},
        {"/versions": (300, GLANCE)},
        {"/": (300, GLANCE)},
        {"/versions": (200, HTML), "/": (300, GLANCE)},
    ],
)
def test_a_glance_passes_in_silence(
    serve: Serve, caplog: pytest.LogCaptureFixture, pages: Pages
) -> None:
    startchecks.check_upstream(UpstreamSettings(serve(pages)))
    assert warnings(caplog) == []


def test_a_glance_below_a_path_passes(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    url = serve({"/image/versions": (200, GLANCE), "/": (200, HTML)})
    startchecks.check_upstream(UpstreamSettings(f"{url}/image"))
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    "pages",
    [
        {},
        {"/": (200, HTML), "/versions": (200, HTML)},
        {"/": (200, HTML)},
        {"/": (300, KEYSTONE)},
        {"/": (300, CINDER)},
        {"/": (200, "[]"), "/versions": (200, '"versions"')},
        {"/": (200, "[" * 60_000)},
    ],
)
def test_what_is_no_glance_is_refused_and_the_right_form_shown(serve: Serve, pages: Pages) -> None:
    url = serve(pages)
    with pytest.raises(ConfigError) as caught:
        startchecks.check_upstream(UpstreamSettings(url))
    text = str(caught.value)
    assert text.startswith(f"[upstream] url = {url}: that is no Glance (GET /versions answers ")
    assert "expected the base URL of a Glance, like http://glance.example:9292" in text
    assert "\n" not in text


@pytest.mark.parametrize("status", [500, 502, 503, 504, 401, 403, 429, 302])
def test_an_ill_upstream_is_only_warned_about(
    serve: Serve, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    url = serve({"/versions": (status, HTML)})
    startchecks.check_upstream(UpstreamSettings(url))
    assert warnings(caplog) == [f"[upstream] url = {url} answers {status} to GET /versions now"]


def test_an_upstream_that_is_away_is_only_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        startchecks.check_upstream(UpstreamSettings(url))
    assert warnings(caplog) == [f"[upstream] url = {url} does not answer now: Connection refused"]


def test_a_name_that_does_not_resolve_is_only_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    startchecks.check_upstream(UpstreamSettings("http://glance.invalid:9292"))
    (warning,) = warnings(caplog)
    assert warning.startswith("[upstream] url = http://glance.invalid:9292 does not answer now: ")


def test_a_silent_upstream_is_only_warned_about(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startchecks, "UPSTREAM_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        startchecks.check_upstream(UpstreamSettings(f"http://127.0.0.1:{server.getsockname()[1]}"))
    assert warnings(caplog)[0].endswith("does not answer now: timed out")


def test_an_upstream_that_speaks_something_else_is_only_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        startchecks.check_upstream(UpstreamSettings(f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()
    (warning,) = warnings(caplog)
    assert "does not answer now" in warning
    assert "\n" not in warning


def test_a_directory_is_made_and_left_empty(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    startchecks.check_directory(directory)
    startchecks.check_directory(directory)
    assert list(directory.iterdir()) == []
    assert directory.stat().st_mode & 0o007 == 0


def test_places_that_are_no_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="that is no directory"):
        startchecks.check_directory(file)
    with pytest.raises(ConfigError, match="cannot be created: Not a directory"):
        startchecks.check_directory(file / "below")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["", "cache"])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    if os.geteuid() == 0:
        directory = Path("/proc/self/task") / name  # not even root can
    else:
        tmp_path.chmod(0o500)
        directory = tmp_path / name
    with pytest.raises(ConfigError, match="cannot be created" if name else "cannot write there"):
        startchecks.check_directory(directory)


def test_notifications_need_what_sends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    startchecks.check_notifications("")
    startchecks.check_notifications("rabbit://u:secret@bus.example/")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    startchecks.check_notifications("")
    with pytest.raises(ConfigError, match="not installed") as told:
        startchecks.check_notifications("rabbit://u:secret@bus.example/")
    assert "secret" not in str(told.value)


def test_authorities_that_cannot_be_used(tmp_path: Path) -> None:
    startchecks.check_authorities("keystone", None)
    file = tmp_path / "ca.pem"
    with pytest.raises(ConfigError, match=r"\[keystone\] cafile = .*: cannot be read"):
        startchecks.check_authorities("keystone", file)
    file.write_text("nothing")
    with pytest.raises(ConfigError, match="no certificates in PEM"):
        startchecks.check_authorities("keystone", file)
