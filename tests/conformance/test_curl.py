"""curl: whole, by range, resumed, and uploading."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.clients import Endpoint, client
from harness.glance import FileServer
from harness.images import MIB, random_bytes

SIZE = 3 * MIB + 12_345
RANGES = {
    "the first byte": ("0-0", slice(0, 1)),
    "the last byte": (f"{SIZE - 1}-", slice(SIZE - 1, None)),
    "a suffix": ("-1000", slice(-1000, None)),
    "across chunks": (f"{MIB - 5}-{2 * MIB + 5}", slice(MIB - 5, 2 * MIB + 6)),
    "beyond the end": (f"{SIZE - 10}-{SIZE + 10}", slice(SIZE - 10, None)),
    "all of it": ("0-", slice(0, None)),
}


def curl(endpoint: Endpoint, image: str, *options: str | Path) -> str:
    """Run curl on an image's data; return the status that it saw."""
    identity = [f"-H{name}: {value}" for name, value in endpoint.headers.items()]
    told = ("-w", "%{http_code}", endpoint.data_url(image))
    return client("curl", "-sS", *identity, *options, *told)


def test_whole(endpoint: Endpoint, tmp_path: Path) -> None:
    data = random_bytes(SIZE, seed=1)
    image = endpoint.source.add(data)
    for name, fetched in (("cold", SIZE), ("warm", 0)):
        with endpoint.fetching(fetched):
            assert curl(endpoint, image, "-o", tmp_path / name) == "200"
        assert (tmp_path / name).read_bytes() == data


@pytest.mark.parametrize("wanted", RANGES)
def test_range(endpoint: Endpoint, tmp_path: Path, wanted: str) -> None:
    span, part = RANGES[wanted]
    data = random_bytes(SIZE, seed=2)
    image = endpoint.source.add(data)
    for name in ("cold", "warm"):
        assert curl(endpoint, image, "-r", span, "-o", tmp_path / name) == "206"
        assert (tmp_path / name).read_bytes() == data[part]


def test_range_that_is_not_there(endpoint: Endpoint, tmp_path: Path) -> None:
    image = endpoint.source.add(random_bytes(1000))
    assert curl(endpoint, image, "-r", "1000-", "-o", tmp_path / "out") == "416"


@pytest.mark.parametrize("present", [1, MIB, SIZE - 1])
def test_resume(endpoint: Endpoint, tmp_path: Path, present: int) -> None:
    data = random_bytes(SIZE, seed=3)
    image = endpoint.source.add(data)
    for name in ("cold", "warm"):
        path = tmp_path / name
        path.write_bytes(data[:present])
        assert curl(endpoint, image, "-C", "-", "-o", path) == "206"
        assert path.read_bytes() == data


@pytest.mark.parametrize("length", ["told", "not told"])
def test_upload(endpoint: Endpoint, tmp_path: Path, length: str) -> None:
    data = random_bytes(SIZE, seed=4)
    (tmp_path / "in").write_bytes(data)
    image = endpoint.api.create()
    chunked = ("-H", "Transfer-Encoding: chunked") if length == "not told" else ()
    kind = ("-H", "Content-Type: application/octet-stream")
    assert curl(endpoint, image, "-T", tmp_path / "in", *kind, *chunked) == "204"
    assert endpoint.source.download(image).body == data
    assert curl(endpoint, image, "-o", tmp_path / "out") == "200"
    assert (tmp_path / "out").read_bytes() == data


@pytest.mark.parametrize("wanted", RANGES)
def test_range_of_a_source_without_ranges(
    proxy_of_open_glance: Endpoint, file_server: FileServer, tmp_path: Path, wanted: str
) -> None:
    span, part = RANGES[wanted]
    data = random_bytes(SIZE, seed=5)
    (file_server.directory / "data").write_bytes(data)
    endpoint = proxy_of_open_glance
    image = endpoint.source.add_located(f"{file_server.url}/data", data)
    assert endpoint.source.download(image, span).status == 400
    for name in ("cold", "warm"):
        assert curl(endpoint, image, "-r", span, "-o", tmp_path / name) == "206"
        assert (tmp_path / name).read_bytes() == data[part]
