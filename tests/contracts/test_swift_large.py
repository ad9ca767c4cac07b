"""An image of 6 GiB into the real Swift and back, each in a process that has little memory for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.swift.options import MEGABYTE
from bench.stores.services import Backing
from contracts.large import carry, check_room
from contracts.swift import ACCOUNT_KEY, ACCOUNT_USER
from harness.keystone import GLANCE, Keystone
from harness.swift import Swift, running_swift

SEGMENT = 200 * MEGABYTE  # Glance's own size


@pytest.fixture
def large_swift(tmp_path: Path, keystone: Keystone) -> Iterator[Swift]:
    """Run a Swift of which nothing is kept."""
    check_room(tmp_path)
    with running_swift(tmp_path, keystone) as running:
        yield running
    shutil.rmtree(tmp_path / "devices")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_six_gibibytes(large_swift: Swift, tmp_path: Path) -> None:
    options = {
        "swift_store_auth_address": large_swift.keystone.url,
        "swift_store_user": ACCOUNT_USER,
        "swift_store_key": ACCOUNT_KEY,
        "swift_store_create_container_on_put": "true",
        "swift_store_endpoint": large_swift.account(GLANCE),
    }
    configuration = Backing("swift", options).written(tmp_path / "glance.conf", {})
    carry(configuration, [number * SEGMENT for number in (1, 7, 31)])
    assert not list((tmp_path / "devices").rglob("*.data"))
