"""A real Ceph of one monitor and one OSD whose data is in memory, and its S3 gateway.

No authentication between the daemons, no manager: nothing here needs one.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.program import Program, free_port
from harness.services import run_tool, unavailable
from harness.waiting import until

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
OSD_SECONDS = 60.0  # until it is up
COMMAND_SECONDS = 20  # of the `ceph` program, which else waits for ever

CONFIGURATION = """
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = {monitor}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
public_network = 127.0.0.0/8
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_delete = true
mon_allow_pool_size_one = true
run_dir = {directory}/run
admin_socket = {directory}/run/$name.asok
log_file = {directory}/$name.log
mon_data = {directory}/mon
osd_data = {directory}/osd
crash_dir = {directory}/run
setuser =
setgroup =
[mon]
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[osd]
osd_objectstore = memstore
memstore_device_bytes = 1073741824
osd_class_dir = {classes}
[client.rgw.a]
ms_mon_client_mode = crc
auth_client_required = none
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
rgw_data = {directory}/rgw
rgw_enable_apis = s3, admin
rgw_multipart_min_part_size = 1
"""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running radosgw, and the keys of its only user."""

    url: str
    access_key: str = "access"
    secret_key: str = "se/cret+"


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run Ceph and its gateway for the whole test run."""
    with running_radosgw(tmp_path_factory.mktemp("ceph")) as running:
        yield running


@contextmanager
def running_radosgw(directory: Path) -> Iterator[Gateway]:
    """Run Ceph with its gateway, and with its files in `directory`."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}: make packages")
    monitor = f"[v2:127.0.0.1:{free_port()},v1:127.0.0.1:{free_port()}]"
    gateway, fsid, osd = free_port(), str(uuid.uuid4()), str(uuid.uuid4())
    for name in ("run", "mon", "osd", "rgw"):
        (directory / name).mkdir()
    classes = next(Path("/usr/lib").glob("*/rados-classes"))
    configuration = directory / "ceph.conf"
    values = {"fsid": fsid, "monitor": monitor, "gateway": str(gateway)}
    configuration.write_text(CONFIGURATION.format(directory=directory, classes=classes, **values))
    common = ("--conf", configuration)
    running: list[Program] = []

    def start(name: str, *command: str) -> Program:
        program = Program(
            name,
            [command[0], *common, *command[1:], "-f"],
            directory=directory,
            environment={"CEPH_CONF": str(configuration)},
        )
        running.append(program)
        return program

    def ceph(*arguments: str) -> str:
        return run_tool("timeout", str(COMMAND_SECONDS), "ceph", *common, *arguments)

    try:
        run_tool(
            "monmaptool",
            "--create",
            "--addv",
            "a",
            monitor,
            "--fsid",
            fsid,
            str(directory / "monmap"),
        )
        run_tool("ceph-mon", *common, "--mkfs", "-i", "a", "--monmap", str(directory / "monmap"))
        start("ceph-mon", "ceph-mon", "-i", "a")
        ceph("osd", "new", osd)  # the same id, else the OSD is never up, and nobody says why
        run_tool("ceph-osd", *common, "-i", "0", "--mkfs", "--osd-uuid", osd)
        ceph("osd", "crush", "add", "osd.0", "1", "host=h", "root=default")
        start("ceph-osd", "ceph-osd", "-i", "0")
        until("the OSD to be up", lambda: "1 up" in ceph("osd", "stat"), OSD_SECONDS)
        keys = Gateway(f"http://127.0.0.1:{gateway}")
        run_tool(
            *("radosgw-admin", *common, "-n", "client.rgw.a", "user", "create", "--uid=tests"),
            *("--display-name=tests", f"--access-key={keys.access_key}"),
            f"--secret-key={keys.secret_key}",
        )
        start("radosgw", "radosgw", "-n", "client.rgw.a").wait_for_port(gateway)
        yield keys
    finally:
        for program in reversed(running):
            program.stop(codes=(0, -15))
