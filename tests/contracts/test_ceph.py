"""The Ceph that other tests rely on: what its harness promises."""

from __future__ import annotations

from harness.ceph import Ceph


def test_an_image_outlives_the_osds_end(ceph: Ceph) -> None:
    ceph.tool("rbd", "create", "--size", "1", f"{ceph.pool}/kept")
    ceph.stop_osd()
    ceph.start_osd()
    assert ceph.tool("rbd", "ls", ceph.pool).split() == ["kept"]
    ceph.tool("rbd", "rm", f"{ceph.pool}/kept")
