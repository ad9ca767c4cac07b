"""Debian's nginx in front of instances of the catalog, as the sample of the documentation has it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running one."""

    url: str
    plain_url: str  # which leads there


@contextmanager
def balancing(
    directory: Path, urls: Sequence[str], certificate: Path, key: Path
) -> Iterator[Nginx]:
    """Run it until the context is left.  What it keeps of bodies is below `directory`."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        unavailable("nginx is not installed: make packages")
    plain, port = free_port(), free_port()
    text = _with_instances(SAMPLE.read_text(), urls)
    own = {
        "10.0.0.10:80;": f"127.0.0.1:{plain};",
        "10.0.0.10:9292 ssl;": f"127.0.0.1:{port} ssl;",
        "images.example.com:9292": f"127.0.0.1:{port}",
        "/etc/nginx/images.pem": str(certificate),
        "/etc/nginx/images.key": str(key),
        "http {\n": "http {" + _OWN.format(directory=directory),
    }
    for told, ours in own.items():
        assert text.count(told) == 1, told
        text = text.replace(told, ours)
    file = directory / "nginx.conf"
    file.write_text(text)
    options = f"daemon off; pid {directory}/pid;" + (" user root;" if os.geteuid() == 0 else "")
    command: list[str | Path] = [binary, "-c", file, "-e", directory / "error.log", "-g", options]
    program = Program(f"nginx-{port}", command, directory=directory)
    try:
        program.wait_for_port(port)
        yield Nginx(f"https://127.0.0.1:{port}", f"http://127.0.0.1:{plain}")
    finally:
        program.stop()


def _with_instances(sample: str, urls: Sequence[str]) -> str:
    """Put the instances of a test in the place of those of the sample."""
    told, *others = re.findall(r"^ *server (?:10\.0\.0\.\d+:9292) .*\n", sample, re.MULTILINE)
    for line in others:
        sample = sample.replace(line, "")
    servers = (re.sub(r"10\.0\.0\.\d+:9292", url.removeprefix("http://"), told) for url in urls)
    return sample.replace(told, "".join(servers))
