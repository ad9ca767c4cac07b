from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backends.errors import UnsupportedError
from backends.opening import open_store
from backends.rbd.options import MIB, RbdOptions, rbd_options
from harness.ceph import require_bindings


def test_glances_defaults() -> None:
    assert rbd_options({}) == RbdOptions()
    options = rbd_options({"rados_connect_timeout": "-1", "rbd_store_ceph_conf": ""})
    assert options == RbdOptions()
    assert (options.pool, options.user, options.configuration) == ("images", "", None)
    assert (options.chunk_bytes, options.thin, options.answer_seconds) == (8 * MIB, False, 30)


def test_everything_set(tmp_path: Path) -> None:
    configuration = tmp_path / "ceph.conf"
    configuration.write_text("[global]\n  fsid = 7fc81d4c-0001 ; ours\nmon_host = 192.0.2.1\n")
    options = rbd_options(
        {
            "rbd_store_pool": "glance",
            "rbd_store_user": "glance",
            "rbd_store_ceph_conf": str(configuration),
            "rbd_store_chunk_size": "4",
            "rados_connect_timeout": "5",
            "rbd_thin_provisioning": "True",
            "weight": "3",
        }
    )
    assert options == RbdOptions(
        pool="glance",
        user="glance",
        configuration=configuration,
        fsid="7fc81d4c-0001",
        chunk_bytes=4 * MIB,
        thin=True,
        answer_seconds=5,
    )


def test_a_cluster_that_its_configuration_does_not_name(tmp_path: Path) -> None:
    (tmp_path / "ceph.conf").write_text("[global]\nmon_host = 192.0.2.1\n")
    for name in ("ceph.conf", "absent.conf"):
        assert rbd_options({"rbd_store_ceph_conf": str(tmp_path / name)}).fsid == ""


@pytest.mark.parametrize(
    "values",
    [
        {"rbd_store_chunk_size": "0"},
        {"rbd_store_chunk_size": "64"},
        {"rbd_store_chunk_size": "8 MiB"},
        {"rados_connect_timeout": "soon"},
        {"rbd_thin_provisioning": "perhaps"},
    ],
)
def test_what_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        rbd_options(values)


@pytest.mark.parametrize(
    "options",
    [
        RbdOptions(pool=""),
        RbdOptions(chunk_bytes=1000),
        RbdOptions(chunk_bytes=64 * MIB),
        RbdOptions(answer_seconds=0),
    ],
)
def test_what_makes_no_store(options: RbdOptions) -> None:
    require_bindings()
    with pytest.raises(ValueError, match=r"RBD store|objects"):
        open_store(options)


def test_without_cephs_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("backends.rbd")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rados", None)
    with pytest.raises(UnsupportedError, match="apt install python3-rbd python3-rados"):
        open_store(RbdOptions())
