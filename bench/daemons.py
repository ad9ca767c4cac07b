"""Catalog and proxy as an operator runs them, below a directory, for as long as a measurement takes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Service:
    """A daemon that was started here."""

    name: str
    url: str
    log: Path
    process: subprocess.Popen[bytes]
    metrics_url: str = ""

    def metrics(self) -> dict[str, float]:
        """Read the proxy's figures, by name with labels."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


@contextmanager
def catalog(home: Path) -> Iterator[Service]:
    """Run the catalog on its embedded defaults."""
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
"""
    )
    command = [sys.executable, "-m", "registry", "--config-file", str(config)]
    subprocess.run([*command, "db", "sync"], check=True)
    with _daemon("catalog", [*command, "serve"], home, port) as service:
        yield service


@contextmanager
def proxy(
    home: Path, upstream: str, *, limit_bytes: int = 10 << 30, workers: int = 1, cache: str = ""
) -> Iterator[Service]:
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
    page = f"http://127.0.0.1:{metrics}/metrics"
    with _daemon("proxy", command, home, port, page) as service:
        yield service


@contextmanager
def _daemon(
    name: str, command: list[str], home: Path, port: int, metrics_url: str = ""
) -> Iterator[Service]:
    """Run one; its output goes to a log file."""
    log = home / f"{name}.log"
    with log.open("wb") as output:
        # In a group of its own: Ctrl-C is for us, and we end it in order.
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # As installed: byte code is there, whatever this environment does with it.
            env={
                **os.environ,
                "PYTHONDONTWRITEBYTECODE": "",
                "PYTHONPYCACHEPREFIX": str(home.resolve() / "pycache"),
            },
        )
    service = Service(name, f"http://127.0.0.1:{port}", log, process, metrics_url)
    try:
        _wait_until_up(service)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(service: Service) -> None:
    """Wait until a daemon answers; RuntimeError with its own words if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{service.url}/versions", timeout=2):
                return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"the {service.name} did not start:\n{service.log.read_text()[-2000:]}")


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
