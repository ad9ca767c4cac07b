"""Debian's nginx in front of instances of the catalog, as the sample of the documentation has it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.program import REPOSITORY, Program, free_port
from harness.services import unavailable

SAMPLE = REPOSITORY / "docs/nginx.conf.sample"
_OWN = """
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
"""


@contextmanager
def balancing(directory: Path, urls: Sequence[str]) -> Iterator[str]:
    """Run it until the context is left; yield its URL.  What it keeps of bodies is below `directory`."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        unavailable("nginx is not installed: make packages")
    port = free_port()
    file = directory / "nginx.conf"
    file.write_text(_configuration(SAMPLE.read_text(), directory, port, urls))
    own = f"daemon off; pid {directory}/pid;" + (" user root;" if os.geteuid() == 0 else "")
    command: list[str | Path] = [binary, "-c", file, "-e", directory / "error.log", "-g", own]
    program = Program(f"nginx-{port}", command, directory=directory)
    try:
        program.wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        program.stop()


def _configuration(sample: str, directory: Path, port: int, urls: Sequence[str]) -> str:
    """Put the addresses of a test in the place of those of the sample, and nothing else."""
    told, *others = re.findall(r"^ *server (?:10\.0\.0\.\d+:9292) .*\n", sample, re.MULTILINE)
    for line in others:
        sample = sample.replace(line, "")
    servers = (re.sub(r"10\.0\.0\.\d+:9292", url.removeprefix("http://"), told) for url in urls)
    sample = sample.replace(told, "".join(servers))
    sample = sample.replace("listen 10.0.0.10:9292;", f"listen 127.0.0.1:{port};", 1)
    assert "\n    server {\n        listen 127.0.0.1" in sample
    return sample.replace("http {\n", "http {" + _OWN.format(directory=directory), 1)
