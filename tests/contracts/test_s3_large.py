"""An image of 6 GiB into a real S3 and back, each in a process that has little memory for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.stores.services import s3
from contracts.large import carry, check_room
from harness.ceph import Gateway, running_ceph, running_gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Run Ceph with its data on the disk: memory has no room."""
    check_room(tmp_path)
    with running_ceph(tmp_path, on_disk=True) as ceph, running_gateway(ceph) as running:
        yield running


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_six_gibibytes(gateway: Gateway, tmp_path: Path) -> None:
    backing = s3(gateway.url, gateway.access_key, gateway.secret_key)
    carry(backing.written(tmp_path / "glance.conf", {}))
