"""Traffic Server: whole images in its ring on the disk and in memory, read while they are written.

Debian's package lacks the slice plugin; a range of an image that is not cached has the origin asked
for that range alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.daemons import free_port
from bench.peers.peer import CACHE_BYTES, Peer, program, started
from bench.scenario import MissingError
from bench.server import CORES, Server

_PACKAGE = "trafficserver"
_MODULES = Path("/usr/lib/trafficserver/modules")
_AVERAGE_OBJECT_BYTES = 1 << 20  # fragments of images: the directory in memory is sized by it

_ROOTS = """
prefix: {home}
exec_prefix: {home}
sysconfdir: {home}/etc
libexecdir: {modules}
runtimedir: {home}/run
localstatedir: {home}/run
logdir: {home}/run
cachedir: {home}/run
datadir: {home}/run
"""

# exec_thread...        a thread for each core that it has, none for accepting.
# ram_cache             hits come from memory: room for all, none too large for it, at once.
# read_while_writer, background_fill   followers read what the first one fetches; a fill goes on
#                       without its reader; these belong together (Traffic Server's own guide).
# range.lookup          ranges are cut out of cached images.
# dir.sync_frequency    what was cached seconds before a stop is found after it, as others find it.
# wait_for_cache        nobody is answered, past the cache, before the disk was looked at.
# required_headers      Glance says nothing of how long images hold; cache.config does.
_RECORDS: dict[str, str | int] = {
    "exec_thread.autoconfig": 0,
    "exec_thread.limit": "{workers}",
    "exec_thread.affinity": 0,
    "accept_threads": 0,
    "task_threads": 1,
    "cache.threads_per_disk": 8,
    "http.server_ports": "{port}:ip-in=127.0.0.1",
    "http.insert_request_via_str": 0,
    "http.insert_client_ip": 0,
    "http.insert_squid_x_forwarded_for": 0,
    "http.keep_alive_no_activity_timeout_in": 3600,
    "http.transaction_no_activity_timeout_in": 600,
    "http.transaction_no_activity_timeout_out": 600,
    "http.transaction_active_timeout_in": 0,
    "http.cache.http": 1,
    "http.wait_for_cache": 1,
    "http.cache.required_headers": 0,
    "http.cache.range.lookup": 1,
    "http.cache.max_open_read_retries": 10,
    "http.cache.open_read_retry_time": 10,
    "cache.enable_read_while_writer": 1,
    "cache.read_while_writer.max_retries": 1000,
    "cache.read_while_writer_retry.delay": 10,
    "cache.max_doc_size": 0,
    "cache.dir.sync_frequency": 2,
    "cache.min_average_object_size": _AVERAGE_OBJECT_BYTES,
    "cache.ram_cache.size": "{cache_bytes}",
    "cache.ram_cache_cutoff": 0,
    "cache.ram_cache.use_seen_filter": 0,
    "http.background_fill_active_timeout": 0,
    "http.background_fill_completed_threshold": "0.0",
    "net.connections_throttle": 16384,
    "url_remap.remap_required": 1,
    "log.logging_enabled": 0,
    "diags.debug.enabled": 0,
    "crash_log_helper": "NULL",
    "admin.user_id": "{user}",
}
_STRINGS = frozenset({"http.server_ports", "admin.user_id", "crash_log_helper"})


@contextmanager
def _start(
    home: Path, origin_url: str, *, workers: int = 1, cache_bytes: int = CACHE_BYTES
) -> Iterator[Server]:
    binary = program("traffic_server", _PACKAGE)
    port = free_port()
    here = home.resolve()
    etc = here / "etc"
    for directory in (etc, here / "run", here / "cache"):
        directory.mkdir(parents=True, exist_ok=True)
    if not _MODULES.is_dir():
        raise MissingError(f"no {_MODULES} (package {_PACKAGE}): make bench-deps")
    values = {
        "workers": workers,
        "port": port,
        "cache_bytes": cache_bytes,
        "user": "#-1" if os.geteuid() == 0 else "",
    }
    records = [
        f"CONFIG proxy.config.{name} {_kind(name, value)} {str(value).format(**values)}\n"
        for name, value in _RECORDS.items()
    ]
    shutil.copytree("/etc/trafficserver", etc, dirs_exist_ok=True)
    (etc / "records.config").write_text("".join(records))
    (etc / "storage.config").write_text(f"{here}/cache {cache_bytes}\n")
    (etc / "cache.config").write_text("url_regex=/file$ ttl-in-cache=365d\n")
    (etc / "remap.config").write_text(f"map / {origin_url}/\n")
    (here / "runroot.yaml").write_text(_ROOTS.format(home=here, modules=_MODULES))
    command = [binary, f"--run-root={here}/runroot.yaml"]
    with started("trafficserver", command, home, port, cores=CORES[:workers]) as server:
        yield server


def _kind(name: str, value: str | int) -> str:
    if name in _STRINGS:
        return "STRING"
    return "FLOAT" if "." in str(value) else "INT"


TRAFFICSERVER = Peer("trafficserver", _PACKAGE, _start)
