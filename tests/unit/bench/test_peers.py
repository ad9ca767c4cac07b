"""Every peer that is measured serves what its origin has, fetches it once, and leaves nothing running."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import psutil
import pytest

from bench.origin import Image, Origin, image, origin
from bench.peers import PEERS
from bench.scenario import MissingError
from bench.server import Server
from harness.waiting import until

SIZE = (3 << 20) + 5
RANGE = (1_048_000, 1_149_000)  # over a border of slices


def read(server: Server, wanted: Image, span: tuple[int, int] | None = None) -> bytes:
    request = urllib.request.Request(server.url + wanted.target.path)
    if span:
        request.add_header("Range", f"bytes={span[0]}-{span[1] - 1}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        data: bytes = answer.read()
    return data


def check(source: Origin, server: Server, wanted: Image) -> None:
    before = source.sent()[0]
    assert hashlib.sha512(read(server, wanted)).hexdigest() == wanted.sha512
    until("the origin's log", lambda: source.sent()[0] >= before + wanted.size)
    assert hashlib.sha512(read(server, wanted)).hexdigest() == wanted.sha512
    assert read(server, wanted, RANGE) == wanted.data.read_bytes()[slice(*RANGE)]
    assert source.sent()[0] == before + wanted.size


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_fetches_an_image_once_and_ends_with_its_block(name: str, tmp_path: Path) -> None:
    published = image(tmp_path, SIZE)
    learned = image(tmp_path, SIZE, published=False)
    try:
        with (
            origin(tmp_path / "origin", [published, learned]) as source,
            PEERS[name].start(tmp_path / name, source.url) as server,
        ):
            check(source, server, published)
            check(source, server, learned)
            processes = [*source.processes(), *server.processes()]
    except MissingError as error:
        # Continuous integration installs what the product's tests need; peers are for measuring.
        pytest.skip(str(error))
    assert not any(process.is_running() for process in processes), psutil.pids()
