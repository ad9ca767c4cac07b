"""nginx: proxy_cache, in slices as machines read images, and without for whole ones; threads for disks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.daemons import free_port
from bench.peers.peer import CACHE_BYTES, Peer, program, started
from bench.server import CORES, Server

_PACKAGE = "nginx-light"

# sendfile            data never enter the process.
# tcp_nopush off      with it on, the end of a body made of several slices waits in the kernel for
#                     an acknowledgement that the reader delays: 40 ms for each 64 KiB range.
# keepalive_requests  1,000 by default: connections would be made anew all the time.
# open_file_cache     cached files stay open, as many as there may be slices.
# reuseport           with several workers, connections spread over them; else most go to one.
# proxy_buffers       a fill reads and writes in pieces large enough; larger ones leave the caches of the processor.
# proxy_cache_lock    equal misses go upstream once; its waits are never given up.
# use_temp_path off   files are renamed into place, not copied.
# inactive, valid     images never change.
_CONFIGURATION = """
daemon off;
{user}
worker_processes {workers};
pid {home}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {home}/t1; proxy_temp_path {home}/t2;
    fastcgi_temp_path {home}/t3; uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
    sendfile on;
    tcp_nodelay on;
    tcp_nopush off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    open_file_cache max=8192 inactive=1h;
    open_file_cache_valid 1h;
    reset_timedout_connection on;
    proxy_cache_path {home}/cache levels=1:2 keys_zone=images:32m max_size={cache_bytes}
        inactive=365d use_temp_path=off;
    upstream glance {{
        server {origin};
        keepalive 64;
        keepalive_requests 1000000000;
        keepalive_time 24h;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096{reuseport};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location = /versions {{ proxy_pass http://glance; }}
        location / {{
            proxy_pass http://glance;
            proxy_cache images;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 1h;
            proxy_cache_lock_age 1h;
            proxy_cache_valid 200 206 365d;
            proxy_buffer_size 16k;
            proxy_buffers 16 64k;
            proxy_busy_buffers_size 128k;
            proxy_temp_file_write_size 512k;
            proxy_max_temp_file_size 0;
            proxy_read_timeout 10m;
            {caching}
        }}
    }}
}}
"""

# A slice is a cached file; the range that was asked for is put together from them.
_SLICES = """
            slice 1m;
            proxy_set_header Range $slice_range;
            proxy_cache_key $uri$slice_range;
"""
# Threads wait for the disk, and others' hits do not wait for them; a hit costs more.
_THREADS = (
    _SLICES
    + """
            aio threads;
            aio_write on;
"""
)
# The whole image is a cached file; ranges are cut out of it.
_WHOLE = """
            proxy_cache_key $uri;
            proxy_force_ranges on;
"""


@dataclass(frozen=True, slots=True)
class _Nginx:
    name: str
    caching: str  # what else stands in the location

    @contextmanager
    def start(
        self, home: Path, origin_url: str, *, workers: int = 1, cache_bytes: int = CACHE_BYTES
    ) -> Iterator[Server]:
        binary = program("nginx", _PACKAGE)
        home.mkdir(parents=True, exist_ok=True)
        port = free_port()
        configuration = home.resolve() / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                home=home.resolve(),
                user="user root;" if os.geteuid() == 0 else "",
                workers=workers,
                cache_bytes=cache_bytes,
                origin=origin_url.removeprefix("http://"),
                port=port,
                reuseport=" reuseport" if workers > 1 else "",
                caching=self.caching,
            )
        )
        command = [binary, "-p", str(home.resolve()), "-c", str(configuration), "-e", "stderr"]
        with started(self.name, command, home, port, cores=CORES[:workers]) as server:
            yield server


NGINX = Peer("nginx", _PACKAGE, _Nginx("nginx", _SLICES).start)
NGINX_WHOLE = Peer("nginx-whole", _PACKAGE, _Nginx("nginx-whole", _WHOLE).start)
NGINX_THREADS = Peer("nginx-threads", _PACKAGE, _Nginx("nginx-threads", _THREADS).start)
