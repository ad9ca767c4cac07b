"""A virtual machine starts from an image over HTTP, to its login prompt, cold and warm."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog import Catalog
from harness.glance import FileServer, Glance
from harness.guest import Guest
from harness.images_api import ImagesApi
from harness.machine import (
    PROMPT,
    PROMPT_SECONDS,
    accelerator_of,
    drive_at,
    running_machine,
)
from harness.node import Node, running_node
from harness.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

FILL_SECONDS = 300.0
FETCHED = "cacheproxy_upstream_bytes_total"

# Every file of every package, compared with what Debian says of it.
CHECK_FILES = "cd / && cat var/lib/dpkg/info/*.md5sums | md5sum --check --quiet"


@pytest.fixture(scope="module")
def accelerator(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return accelerator_of(guest, tmp_path_factory.mktemp("accelerator"))


def start(node: Node, image: str, directory: Path, accelerator: str, *, look: bool = False) -> int:
    """Start a machine from an image, to its prompt; return what was fetched of the image by then.

    It may then look at its files, all of them.
    """
    before = node.metrics()[FETCHED]
    url = f"{node.url}/v2/images/{image}/file"
    with running_machine(directory, drive_at(url, "qcow2"), accelerator) as machine:
        machine.expect(PROMPT, PROMPT_SECONDS)
        fetched = node.metrics()[FETCHED] - before
        if look:
            machine.log_in()
            assert machine.command(CHECK_FILES) == ""
    return int(fetched)


def settled(node: Node) -> dict[str, float]:
    """Wait until nothing is fetched or held any more; return the figures."""

    def idle() -> bool:
        figures = node.metrics()
        return not figures["cacheproxy_flights"] and not figures["cacheproxy_leases"]

    until("the rest of the image", idle, FILL_SECONDS)
    figures = node.metrics()
    assert figures["cacheproxy_reserved_bytes"] == 0
    assert figures['cacheproxy_requests_total{result="error"}'] == 0
    return figures


def test_published_manifest(
    catalog: Catalog, guest: Guest, accelerator: str, tmp_path: Path
) -> None:
    """Only what the guest reads is fetched, and nothing twice."""
    image = ImagesApi(catalog.url).add(guest.qcow2, disk_format="qcow2")
    size = guest.qcow2.stat().st_size
    with running_node(tmp_path, catalog.url) as node:
        assert 0 < start(node, image, tmp_path, accelerator) < size / 2
        cold = settled(node)[FETCHED]
        assert start(node, image, tmp_path, accelerator, look=True) < size / 10
        assert cold <= settled(node)[FETCHED] <= size


def test_learned_manifest(
    glance_open: Glance, guest: Guest, accelerator: str, tmp_path: Path
) -> None:
    """The guest starts while the image is still being fetched; afterwards all of it is here."""
    image = ImagesApi(glance_open.url).add(guest.qcow2, disk_format="qcow2")
    size = guest.qcow2.stat().st_size
    with running_node(tmp_path, glance_open.url) as node:
        assert 0 < start(node, image, tmp_path, accelerator) <= size
        assert settled(node)[FETCHED] == size
        assert start(node, image, tmp_path, accelerator, look=True) == 0
        _ = settled(node)


def test_source_without_ranges(
    glance_open: Glance, file_server: FileServer, guest: Guest, accelerator: str, tmp_path: Path
) -> None:
    """The image is read once, from its first byte; the guest reads wherever it likes."""
    path = file_server.directory / "guest.qcow2"
    path.symlink_to(guest.qcow2)
    url = f"{file_server.url}/{path.name}"
    image = ImagesApi(glance_open.url).add_located(
        url, guest.qcow2.read_bytes(), disk_format="qcow2"
    )
    size = guest.qcow2.stat().st_size
    with running_node(tmp_path, glance_open.url) as node:
        assert 0 < start(node, image, tmp_path, accelerator) <= size
        assert settled(node)[FETCHED] == size
        assert start(node, image, tmp_path, accelerator) == 0
        _ = settled(node)
