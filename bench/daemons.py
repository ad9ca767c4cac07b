"""Catalog and proxy as an operator runs them, below a directory, for as long as a measurement takes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.server import Server, running


@contextmanager
def catalog(home: Path, more: str = "") -> Iterator[Server]:
    """Run the catalog on its embedded defaults; `more` is appended to its configuration."""
    port = free_port(9191)
    config = home / "catalog.conf"
    config.write_text(
        f"""[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
[database]
connection = sqlite:///{home.resolve()}/catalog.db
[glance_store]
stores = file
default_store = file
filesystem_store_datadir = {home.resolve()}/images
{more}"""
    )
    command = [sys.executable, "-m", "registry", "--config-file", str(config)]
    subprocess.run([*command, "db", "sync"], check=True)
    url = f"http://127.0.0.1:{port}"
    with running("catalog", [*command, "serve"], home, url, environment=_compiled(home)) as server:
        yield server


@contextmanager
def proxy(
    home: Path, upstream: str, *, limit_bytes: int = 10 << 30, workers: int = 1, cache: str = ""
) -> Iterator[Server]:
    """Run the proxy in front of an upstream; `cache` is more for the section `[cache]`."""
    port, metrics = free_port(9292), free_port(9293)
    config = home / "cacheproxy.conf"
    config.write_text(
        f"""[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
workers = {workers}
[upstream]
url = {upstream}
[cache]
directory = {home.resolve()}/cache
image_cache_size = {limit_bytes}
{cache}
[metrics]
bind_host = 127.0.0.1
bind_port = {metrics}
"""
    )
    command = [sys.executable, "-m", "cacheproxy", "serve", "--config-file", str(config)]
    with running(
        "proxy",
        command,
        home,
        f"http://127.0.0.1:{port}",
        metrics_url=f"http://127.0.0.1:{metrics}/metrics",
        environment=_compiled(home),
    ) as server:
        yield server


def _compiled(home: Path) -> dict[str, str]:
    """As installed: byte code is there, whatever this environment does with it."""
    return {
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(home.resolve() / "pycache"),
    }


def free_port(wanted: int = 0) -> int:
    """Return this port, or any other that is free."""
    for port in (wanted, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = sock.getsockname()[1]
            return found
    raise RuntimeError("no free port")
