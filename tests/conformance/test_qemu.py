"""qemu-img reads images from where they are downloaded, as a hypervisor would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.clients import Endpoint, client
from harness.glance import FileServer
from harness.images import Disk

TIMEOUT_SECONDS = 300  # qemu gives up after 5 by itself, which a cold image may need

# Debian 12's qemu (7.2) loses a wake-up when its HTTP driver reads several things at once: of
# conversions from a plain nginx one in three hung for ever, with one read at a time none in 60.
ONE_READ = ("-m", "1")

Add = Callable[[Path, str], tuple[Endpoint, str]]


def at(endpoint: Endpoint, image: str, driver: str) -> str:
    """Return the name by which qemu opens an image at its data's URL."""
    file = {"driver": "http", "url": endpoint.data_url(image), "timeout": TIMEOUT_SECONDS}
    return "json:" + json.dumps({"driver": driver, "file": file})


@pytest.fixture
def add_with_ranges(open_endpoint: Endpoint) -> Add:
    """Give images on sources that read ranges."""

    def add(path: Path, driver: str) -> tuple[Endpoint, str]:
        return open_endpoint, open_endpoint.source.add(path, disk_format=driver)

    return add


@pytest.fixture
def add_without_ranges(proxy_of_open_glance: Endpoint, file_server: FileServer) -> Add:
    """Give images on a source that cannot read ranges."""

    def add(path: Path, driver: str) -> tuple[Endpoint, str]:
        data = path.read_bytes()
        (file_server.directory / path.name).write_bytes(data)
        source = proxy_of_open_glance.source
        url = f"{file_server.url}/{path.name}"
        return proxy_of_open_glance, source.add_located(url, data, disk_format=driver)

    return add


def check_info(add: Add, path: Path, disk: Disk, driver: str) -> None:
    """Look at an image that nobody has, and again."""
    endpoint, image = add(path, driver)
    for _ in ("cold", "warm"):
        told = client("qemu-img", "info", "--output=json", at(endpoint, image, driver))
        info = json.loads(told)
        assert info["format"] == driver
        assert info["virtual-size"] == disk.raw.stat().st_size


def check_convert(add: Add, path: Path, disk: Disk, driver: str, directory: Path) -> None:
    """Convert an image that nobody has, and again; compare with the disk bit by bit."""
    endpoint, image = add(path, driver)
    for name in ("cold", "warm"):
        source = at(endpoint, image, driver)
        client("qemu-img", "convert", *ONE_READ, "-O", "raw", source, directory / name)
        assert (directory / name).read_bytes() == disk.raw.read_bytes()


@pytest.mark.parametrize("driver", ["qcow2", "raw"])
def test_info(add_with_ranges: Add, disk: Disk, driver: str) -> None:
    check_info(add_with_ranges, getattr(disk, driver), disk, driver)


@pytest.mark.parametrize("driver", ["qcow2", "raw"])
def test_convert(add_with_ranges: Add, disk: Disk, driver: str, tmp_path: Path) -> None:
    check_convert(add_with_ranges, getattr(disk, driver), disk, driver, tmp_path)


@pytest.mark.parametrize("driver", ["qcow2", "raw"])
def test_info_without_ranges(add_without_ranges: Add, disk: Disk, driver: str) -> None:
    check_info(add_without_ranges, getattr(disk, driver), disk, driver)


@pytest.mark.parametrize("driver", ["qcow2", "raw"])
def test_convert_without_ranges(
    add_without_ranges: Add, disk: Disk, driver: str, tmp_path: Path
) -> None:
    check_convert(add_without_ranges, getattr(disk, driver), disk, driver, tmp_path)
