"""Squid: whole images in memory and on disk, one fetch for all who want the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.daemons import free_port
from bench.images import MIB
from bench.peers.peer import CACHE_BYTES, Peer, program, started
from bench.scenario import MissingError
from bench.server import CORES, Server

_PACKAGE = "squid"
_TOOL_SECONDS = 60.0

# cache_mem             hits come from memory: room for all, and no image too large for it.
# cache_dir aufs        threads write and read the disk; the other loop never waits for one.
# range_offset_limit    a range has its whole image fetched, else it would not be kept.
# collapsed_forwarding  equal misses go upstream once.
# quick_abort_min       a fill goes on without its reader.
# read_ahead_gap        how far a fill may be ahead of its reader: 16 KiB would make it wait.
# refresh_pattern       images never change, and Glance says nothing of how long they hold.
_CONFIGURATION = """
http_port 127.0.0.1:{port} accel defaultsite=127.0.0.1 no-vhost
cache_peer 127.0.0.1 parent {origin_port} 0 no-query no-digest no-netdb-exchange originserver name=glance
http_access allow all
cache_peer_access glance allow all
never_direct allow all
workers {workers}
visible_hostname localhost
pid_filename {home}/squid.pid
coredump_dir {home}
cache_log /dev/null
access_log none
cache_store_log none
logfile_rotate 0
netdb_filename none
pinger_enable off
memory_pools_limit none
cache_mem {cache_mib} MB
maximum_object_size_in_memory {cache_mib} MB
maximum_object_size {cache_mib} MB
memory_cache_mode always
cache_dir aufs {home}/cache {cache_mib} 1 16
max_open_disk_fds 0
range_offset_limit none
collapsed_forwarding on
quick_abort_min -1 KB
read_ahead_gap 4 MB
client_persistent_connections on
server_persistent_connections on
persistent_request_timeout 1 hour
client_idle_pconn_timeout 1 hour
half_closed_clients off
max_filedescriptors {descriptors}
shutdown_lifetime 0 seconds
refresh_pattern . 525600 100% 525600 override-expire override-lastmod ignore-reload ignore-no-store ignore-private
"""

# It refuses to be root; nobody then, who may write in a directory that is ours.
_AS_NOBODY = (
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
)


@contextmanager
def _start(
    home: Path, origin_url: str, *, workers: int = 1, cache_bytes: int = CACHE_BYTES
) -> Iterator[Server]:
    if workers != 1:
        raise MissingError("squid's aufs cannot be shared by several workers")
    binary = program("squid", _PACKAGE)
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    configuration = home.resolve() / "squid.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            home=home.resolve(),
            port=port,
            origin_port=origin_url.rpartition(":")[2],
            workers=workers,
            cache_mib=cache_bytes // MIB,
            descriptors=16384,
        )
    )
    nobody = () if os.geteuid() else _AS_NOBODY
    base = [*nobody, binary, "-N", "-f", str(configuration)]
    if not (home / "cache").exists():
        subprocess.run([*base, "-z"], check=True, capture_output=True, timeout=_TOOL_SECONDS)
    with started("squid", base, home, port, cores=CORES[:workers]) as server:
        yield server


SQUID = Peer("squid", _PACKAGE, _start)
