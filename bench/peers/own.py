"""cacheproxy itself, as installed, with its defaults; only its access log is off, as everybody's is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.daemons import free_port
from bench.peers.peer import CACHE_BYTES, Peer, started
from bench.server import CORES, Server

# drain_seconds       a scenario that ends with readers in the middle does not wait for them.
_CONFIGURATION = """
[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
workers = {workers}
access_log = false
drain_seconds = 0
[upstream]
url = {origin}
[cache]
directory = {home}/cache
image_cache_size = {cache_bytes}
[metrics]
bind_host = 127.0.0.1
bind_port = {metrics}
"""


@contextmanager
def start(
    home: Path,
    origin_url: str,
    *,
    workers: int = 1,
    cache_bytes: int = CACHE_BYTES,
    more: str = "",
) -> Iterator[Server]:
    """Start it as any peer; `more` is appended to its configuration."""
    home.mkdir(parents=True, exist_ok=True)
    port, metrics = free_port(), free_port()
    configuration = home / "cacheproxy.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            port=port,
            workers=workers,
            origin=origin_url,
            home=home.resolve(),
            cache_bytes=cache_bytes,
            metrics=metrics,
        )
        + more
    )
    command = [sys.executable, "-m", "cacheproxy", "serve", "--config-file", str(configuration)]
    # As installed: byte code is there, whatever this environment does with it.
    environment = {
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(home.resolve().parent / "pycache"),
    }
    page = f"http://127.0.0.1:{metrics}/metrics"
    cores = CORES[:workers]
    with started(
        "cacheproxy", command, home, port, cores=cores, metrics_url=page, environment=environment
    ) as server:
        yield server


CACHEPROXY = Peer("cacheproxy", "", start)
