"""A virtual machine starts from an image at a signed URL, to its login prompt, cold and warm.

Everything is read over HTTP: boot loader, kernel, and what the guest looks at afterwards.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog import Catalog
from harness.glance import FileServer, Glance
from harness.guest import Guest
from harness.images_api import ImagesApi
from harness.machine import PROMPT, PROMPT_SECONDS, accelerator_of, drive_at, running_machine
from harness.node import SIGNED_URLS, Node, running_node
from harness.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

FILL_SECONDS = 300.0
FETCHED = "cacheproxy_upstream_bytes_total"
FORMAT = "qcow2"

# Every file of every package, compared with what Debian says of it.
CHECK_FILES = "cd / && cat var/lib/dpkg/info/*.md5sums | md5sum --check --quiet"


@pytest.fixture(scope="module")
def accelerator(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return accelerator_of(guest, tmp_path_factory.mktemp("accelerator"))


def start(
    node: Node, url: str, directory: Path, accelerator: str, *, check_files: bool = False
) -> float:
    """Start a machine from an image, to its prompt; return what was fetched of the image by then."""
    before = node.metrics()[FETCHED]
    with running_machine(directory, drive_at(url, FORMAT), accelerator) as machine:
        machine.expect(PROMPT, PROMPT_SECONDS)
        fetched = node.metrics()[FETCHED] - before
        if check_files:
            machine.log_in()
            assert machine.command(CHECK_FILES) == ""
    return fetched


def settled(node: Node) -> float:
    """Wait until nothing is fetched or held any more; return what was fetched since the start."""

    def idle() -> bool:
        figures = node.metrics()
        return not figures["cacheproxy_flights"] and not figures["cacheproxy_leases"]

    until("the rest of the image", idle, FILL_SECONDS)
    figures = node.metrics()
    assert figures["cacheproxy_reserved_bytes"] == 0
    assert figures['cacheproxy_requests_total{result="error"}'] == 0
    assert figures['cacheproxy_requests_total{result="bypass"}'] == 0
    return figures[FETCHED]


def check_learning(
    source: ImagesApi, image: str, guest: Guest, directory: Path, accelerator: str
) -> None:
    """Start it cold, while all of it is fetched once; then warm, when nothing is."""
    size = guest.qcow2.stat().st_size
    with running_node(directory, source.url, more=SIGNED_URLS) as node:
        url = node.signed_url(image, source.headers)
        assert 0 < start(node, url, directory, accelerator) <= size
        assert settled(node) == size
        assert start(node, url, directory, accelerator, check_files=True) == 0
        assert settled(node) == size


def test_published_manifest(
    catalog: Catalog, guest: Guest, accelerator: str, tmp_path: Path
) -> None:
    """Only what the guest reads is fetched, and nothing twice."""
    image = ImagesApi(catalog.url).add(guest.qcow2, disk_format=FORMAT)
    size = guest.qcow2.stat().st_size
    with running_node(tmp_path, catalog.url, more=SIGNED_URLS) as node:
        url = node.signed_url(image)
        assert 0 < start(node, url, tmp_path, accelerator) < size / 2
        cold = settled(node)
        assert start(node, url, tmp_path, accelerator, check_files=True) < cold / 10
        assert cold <= settled(node) <= size


def test_learned_manifest(glance: Glance, guest: Guest, accelerator: str, tmp_path: Path) -> None:
    """The guest starts while the image is still being fetched; afterwards all of it is here."""
    source = ImagesApi(glance.url, glance.headers)
    image = source.add(guest.qcow2, disk_format=FORMAT)
    check_learning(source, image, guest, tmp_path, accelerator)


def test_source_without_ranges(
    glance_open: Glance, file_server: FileServer, guest: Guest, accelerator: str, tmp_path: Path
) -> None:
    """The image is read once, from its first byte; the guest reads wherever it likes."""
    path = file_server.directory / guest.qcow2.name
    path.symlink_to(guest.qcow2)
    url = f"{file_server.url}/{path.name}"
    source = ImagesApi(glance_open.url)
    image = source.add_located(url, guest.qcow2.read_bytes(), disk_format=FORMAT)
    check_learning(source, image, guest, tmp_path, accelerator)
