"""The real HAProxy in front of instances of the catalog, configured as operators are told to."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.program import REPOSITORY, Program, free_port
from harness.services import unavailable

SAMPLE = REPOSITORY / "docs/haproxy.cfg.sample"
PLAIN, BOUND = "10.0.0.10:80", "10.0.0.10:9292"  # the sample's addresses
PUBLIC = "images.example.com:9292"
SERVERS = ("10.0.0.11:9292", "10.0.0.12:9292", "10.0.0.13:9292")
TLS = " ssl crt /etc/haproxy/images.pem alpn http/1.1"


@dataclass(frozen=True, slots=True)
class HAProxy:
    """A running one."""

    url: str
    plain_url: str  # which leads there
    program: Program


def configuration(
    plain: int, port: int, servers: Sequence[int], certificate: Path | None = None
) -> str:
    """Return the sample with ports of this machine for its addresses, and no more servers.

    Without a certificate it is without TLS.
    """
    text = SAMPLE.read_text()
    ports = {PLAIN: plain, BOUND: port, PUBLIC: port}
    ports |= dict(zip(SERVERS, servers, strict=False))
    for address, own in ports.items():
        assert address in text, f"{SAMPLE.name} names no {address}"
        text = re.sub(rf"{re.escape(address)}\b", f"127.0.0.1:{own}", text)
    text = re.sub(r"^ *server \S+ 10\.0\.0\..*\n", "", text, flags=re.MULTILINE)
    assert TLS in text
    own_tls = (
        "" if certificate is None else TLS.replace("/etc/haproxy/images.pem", f"{certificate}")
    )
    # A test may have fewer descriptors than a service, and has no syslog.
    text = text.replace(TLS, own_tls).replace("maxconn 8000", "maxconn 1000")
    return text.replace("log /dev/log local0", "log stdout format raw local0")


@contextmanager
def running_haproxy(
    directory: Path, servers: Sequence[int], certificate: Path | None = None
) -> Iterator[HAProxy]:
    """Run one in front of up to three instances that listen, or will, on these ports.

    `certificate` is the file of one and of its key; without it there is no TLS.
    """
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        unavailable("HAProxy is not installed: make packages")
    plain, port = free_port(), free_port()
    file = directory / "haproxy.cfg"
    file.write_text(configuration(plain, port, servers, certificate))
    running = Program(f"haproxy-{port}", [program, "-db", "-f", file], directory=directory)
    scheme = "http" if certificate is None else "https"
    try:
        running.wait_for_port(port)
        yield HAProxy(f"{scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{plain}", running)
    finally:
        running.stop(codes=(0, 128 + signal.SIGTERM, -signal.SIGTERM))
