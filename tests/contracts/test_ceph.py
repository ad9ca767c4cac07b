"""The Ceph that other tests rely on: what its harness promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.ceph import running_ceph


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_image_outlives_the_osds_end(tmp_path: Path, on_disk: bool) -> None:
    with running_ceph(tmp_path, on_disk=on_disk) as ceph:
        ceph.tool("rbd", "create", "--size", "1", f"{ceph.pool}/kept")
        ceph.stop_osd()
        ceph.start_osd()
        assert ceph.tool("rbd", "ls", ceph.pool).split() == ["kept"]
