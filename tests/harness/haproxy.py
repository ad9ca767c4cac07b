"""The real HAProxy in front of instances of the catalog, configured as operators are told to."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.program import REPOSITORY, Program, free_port
from harness.services import unavailable

SAMPLE = REPOSITORY / "docs/haproxy.cfg.sample"
BOUND = "10.0.0.10:9292"  # the sample's addresses
SERVERS = ("10.0.0.11:9292", "10.0.0.12:9292", "10.0.0.13:9292")


@dataclass(frozen=True, slots=True)
class HAProxy:
    """A running one."""

    url: str
    program: Program


def configuration(port: int, servers: Sequence[int]) -> str:
    """Return the sample with these ports of this machine for its addresses."""
    text = SAMPLE.read_text()
    ports = {BOUND: port, **dict(zip(SERVERS, servers, strict=True))}
    for address, own in ports.items():
        assert address in text, f"{SAMPLE.name} names no {address}"
        text = text.replace(address, f"127.0.0.1:{own}")
    # A test may have fewer descriptors than a service, and has no syslog.
    text = text.replace("maxconn 8000", "maxconn 1000")
    return text.replace("log /dev/log local0", "log stdout format raw local0")


@contextmanager
def running_haproxy(directory: Path, servers: Sequence[int]) -> Iterator[HAProxy]:
    """Run one in front of three instances that listen, or will, on these ports."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        unavailable("HAProxy is not installed: make packages")
    port = free_port()
    file = directory / "haproxy.cfg"
    file.write_text(configuration(port, servers))
    running = Program(f"haproxy-{port}", [program, "-db", "-f", file], directory=directory)
    try:
        running.wait_for_port(port)
        yield HAProxy(f"http://127.0.0.1:{port}", running)
    finally:
        running.stop(codes=(0, 128 + signal.SIGTERM, -signal.SIGTERM))
