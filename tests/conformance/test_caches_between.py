"""A cache between the proxy and Glance, which answers ranges, and so the question who may, by itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.glance import Glance
from harness.http import ask
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import MEMBER, STRANGER, Keystone
from harness.node import running_node
from harness.program import Program, free_port

DATA = random_bytes(300_000, seed=3)

# Debian's nginx as people put it there: it keeps what it was given, and looks at no token.
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
    proxy_cache_path {directory}/kept keys_zone=kept:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {glance};
            proxy_cache kept;
            proxy_cache_valid 200 1h;
            proxy_force_ranges on;  # Glance does not say that it knows them
        }}
    }}
}}
"""


@contextmanager
def caching(glance: Glance, directory: Path) -> Iterator[str]:
    """Run nginx in front of Glance; where it listens."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        reason = "nginx is not installed: apt-get install nginx-light"
        if os.environ.get("CACHEPROXY_REQUIRE_SERVICES"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = directory / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(directory=directory, port=port, glance=glance.url, user=user)
    )
    command: list[str | Path] = [
        binary,
        "-p",
        directory,
        "-c",
        configuration,
        "-e",
        directory / "error.log",
    ]
    program = Program("nginx", command, directory=directory)
    try:
        program.wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        program.stop()


def test_it_is_not_believed(glance: Glance, keystone: Keystone, tmp_path: Path) -> None:
    """Nothing is kept or served on its word; what it gives away itself it gives through us too."""
    image = ImagesApi(glance.url, glance.headers).add(DATA)
    path = f"/v2/images/{image}/file"
    member = {"X-Auth-Token": keystone.token(MEMBER)}
    stranger = {"X-Auth-Token": keystone.token(STRANGER)}
    with caching(glance, tmp_path) as url, running_node(tmp_path, url) as node:
        # Before it knows the image it lets Glance judge.
        assert ask("GET", node.url + path, headers=stranger).status == 404
        assert ask("GET", node.url + path, headers=member).body == DATA
        question = {**stranger, "Range": "bytes=9223372036854775807-"}
        answer = ask("GET", url + path, headers=question)
        assert answer.status == 416
        assert answer.headers["content-range"] == f"bytes */{len(DATA)}"
        assert "x-openstack-request-id" in answer.headers  # Glance's own, of another request
        for _ in range(2):
            for caller in (member, stranger):
                ours = ask("GET", node.url + path, headers=caller)
                its = ask("GET", url + path, headers=caller)
                assert (ours.status, ours.body) == (its.status, its.body) == (200, DATA)
        figures = node.metrics()
        assert figures['cacheproxy_requests_total{result="bypass"}'] == 5
        assert figures['cacheproxy_requests_total{result="hit"}'] == 0
        assert figures["cacheproxy_chunks_stored_total"] == 0
        assert node.program.log.read_text().count("answers ranges by itself") == 1
