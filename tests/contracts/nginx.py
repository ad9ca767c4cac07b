"""Debian's nginx, which serves a directory over HTTP and HTTPS, with ranges and without.

Without nginx the tests that need it are skipped, or fail where CACHEPROXY_REQUIRE_SERVICES is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.program import Program, free_port

USER, PASSWORD, QUOTED_PASSWORD = "glance", "p@ss/w%rd", "p%40ss%2Fw%25rd"
NEVER_IN_AN_IMAGE = "0a1b2c3d4e5f-not-in-any-image"

# One process and nothing outside of the directory.  `whole` ignores ranges; `stream` does so too
# and tells no length (a filter that may change the body takes it away), the body is chunked, or
# ended by closing the connection where the client speaks HTTP/1.0.
CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2;
    fastcgi_temp_path {directory}/t3; uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.key;
        location /ranges/ {{ alias {images}/; }}
        location /whole/ {{ alias {images}/; max_ranges 0; }}
        location /stream/ {{
            alias {images}/; sub_filter {never} ""; sub_filter_types *;
        }}
        location /private/ {{
            alias {images}/; auth_basic images; auth_basic_user_file {directory}/users;
        }}
        location /once/ {{ return 302 /ranges/; }}
    }}
}}
"""

# What is sent goes on at once, as from a client.
PROXY = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2;
    fastcgi_temp_path {directory}/t3; uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
    client_max_body_size 0;
    proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
    {servers}
}}
"""
ENCRYPTING = """
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.key;
        location / {{ proxy_pass {url}; proxy_set_header Host $http_host; }}
    }}
"""


@dataclass(frozen=True)
class Nginx:
    """Where it serves, and what."""

    images: Path
    authority: str
    tls_authority: str
    ca_file: Path

    def place(self, name: str, content: bytes) -> None:
        (self.images / name).write_bytes(content)


@contextmanager
def serving(directory: Path) -> Iterator[Nginx]:
    """Serve until the context is left."""
    images = directory / "images"
    images.mkdir()
    (directory / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    port, tls_port = free_port(), free_port()
    configuration = CONFIGURATION.format(
        directory=directory,
        images=images,
        port=port,
        tls_port=tls_port,
        never=NEVER_IN_AN_IMAGE,
        user=_user(),
    )
    with _running(directory, configuration, port, tls_port):
        yield Nginx(images, f"127.0.0.1:{port}", f"127.0.0.1:{tls_port}", directory / "ca.pem")


@contextmanager
def encrypting(directory: Path, *urls: str) -> Iterator[list[str]]:
    """Speak TLS for servers that do not: yield their new URLs; `ca.pem` says whom to trust."""
    ports = [free_port() for _ in urls]
    servers = "".join(
        ENCRYPTING.format(directory=directory, port=port, url=url)
        for port, url in zip(ports, urls, strict=True)
    )
    configuration = PROXY.format(directory=directory, servers=servers, user=_user())
    with _running(directory, configuration, *ports):
        yield [f"https://127.0.0.1:{port}" for port in ports]


@contextmanager
def _running(directory: Path, configuration: str, *ports: int) -> Iterator[None]:
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        reason = "nginx is not installed: apt-get install nginx-light"
        if os.environ.get("CACHEPROXY_REQUIRE_SERVICES"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    make_certificates(directory)
    (directory / "nginx.conf").write_text(configuration)
    program = Program(
        "nginx",
        [binary, "-p", directory, "-c", directory / "nginx.conf", "-e", directory / "error.log"],
        directory=directory,
    )
    try:
        for port in ports:
            program.wait_for_port(port)
        yield
    finally:
        program.stop()


def _user() -> str:
    return "user root;" if os.geteuid() == 0 else ""


def make_certificates(directory: Path) -> None:
    """Make an authority (`ca.pem`) and a certificate of it for 127.0.0.1 (`server.pem`)."""
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for command in (
        f"req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2",
        f"req {key} -keyout server.key -out server.csr -subj /CN=server",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -out server.pem -days 2 -extfile names",
    ):
        subprocess.run(
            ["openssl", *command.split()],
            cwd=directory,
            check=True,
            capture_output=True,
            timeout=60,
        )
