"""Varnish: whole images in memory, streamed to everybody while they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.daemons import free_port
from bench.peers.peer import CACHE_BYTES, Peer, program, started
from bench.server import CORES, Server

_PACKAGE = "varnish"

# Images never change, and Glance says nothing of how long they hold; tokens are not looked at.
_RULES = """
vcl 4.1;
backend glance {{
    .host = "{host}";
    .port = "{port}";
    .first_byte_timeout = 600s;
    .between_bytes_timeout = 600s;
}}
sub vcl_recv {{
    if (req.method == "GET") {{ return (hash); }}
    return (pass);
}}
sub vcl_backend_response {{
    if (beresp.status == 200) {{
        set beresp.ttl = 365d;
        set beresp.do_stream = true;
    }}
}}
"""

# thread_pools 1         of threads that share a core, one pool contends least.
# fetch_chunksize        bodies come in pieces of 1 MiB, not of 16 KiB.
# vsl_mask               what the log in shared memory would be told of each request: no logs here.
# malloc                 with room for all: the fastest storage of the open version.
_LOGGED = (
    *("Begin", "End", "Link", "SessOpen", "SessClose", "ReqStart", "ReqMethod", "ReqURL"),
    *("ReqProtocol", "ReqHeader", "ReqUnset", "ReqAcct", "RespProtocol", "RespStatus"),
    *("RespReason", "RespHeader", "RespUnset", "VCL_call", "VCL_return", "VCL_use", "VCL_acl"),
    *("Timestamp", "Hit", "HitMiss", "HitPass", "Filters", "Gzip", "Length"),
    *("BereqProtocol", "BereqMethod", "BereqURL", "BereqHeader", "BereqUnset", "BereqAcct"),
    *("BerespProtocol", "BerespStatus", "BerespReason", "BerespHeader", "BerespUnset"),
    *("Fetch_Body", "Storage", "TTL", "BackendOpen", "BackendReuse", "BackendClose"),
)


@contextmanager
def _start(
    home: Path, origin_url: str, *, workers: int = 1, cache_bytes: int = CACHE_BYTES
) -> Iterator[Server]:
    binary = program("varnishd", _PACKAGE)
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    rules = home.resolve() / "rules.vcl"
    host, _, origin_port = origin_url.removeprefix("http://").partition(":")
    rules.write_text(_RULES.format(host=host, port=origin_port))
    parameters = (
        f"thread_pools={workers}",
        "thread_pool_min=100",
        "thread_pool_max=2000",
        "fetch_chunksize=1m",
        "timeout_idle=3600",
        "send_timeout=600",
        "idle_send_timeout=600",
        "http_gzip_support=off",
        "listen_depth=4096",
        f"vsl_mask={','.join(f'-{tag}' for tag in _LOGGED)}",
    )
    command = [
        *(binary, "-F", "-j", "none", "-T", "none", "-n", str(home.resolve() / "run")),
        *("-a", f"127.0.0.1:{port}", "-f", str(rules), "-s", f"malloc,{cache_bytes}"),
        *(word for parameter in parameters for word in ("-p", parameter)),
    ]
    with started("varnish", command, home, port, cores=CORES[:workers]) as server:
        yield server


VARNISH = Peer("varnish", _PACKAGE, _start)
