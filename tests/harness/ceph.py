"""A real Ceph of one monitor and one OSD, with a pool for RBD, and its S3 gateway for who asks.

Without authentication, unless a test is about that; without a manager: nothing here needs one.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.program import Program, free_port
from harness.services import run_tool, unavailable
from harness.waiting import until

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "rbd")
AUTHENTICATION_PROGRAMS = ("ceph-authtool",)
GATEWAY_PROGRAMS = ("radosgw", "radosgw-admin")
OSD_SECONDS = 60.0  # until it is up
COMMAND_SECONDS = 20  # of Ceph's own programs, which else wait for ever
POOL = "images"
TERMINATED = (0, -signal.SIGTERM)

CONFIGURATION = """
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = {monitor}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
public_network = 127.0.0.0/8
ms_bind_ipv6 = false
auth_cluster_required = {authentication}
auth_service_required = {authentication}
auth_client_required = {authentication}
keyring = {directory}/keyring
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
mon_data = {directory}/mon
osd_data = {directory}/osd
crash_dir = {directory}/run
setuser =
setgroup =
[mon]
admin_socket = {directory}/run/$name.asok
log_file = {directory}/$name.log
paxos_propose_interval = 0.05
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[osd]
admin_socket = {directory}/run/$name.asok
log_file = {directory}/$name.log
osd_class_dir = {classes}
keyring = {directory}/osd/keyring
{objectstore}
[client]
admin_socket =
log_file =
[client.rgw.a]
ms_mon_client_mode = crc
auth_client_required = none
log_file = {directory}/$name.log
rgw_data = {directory}/rgw
rgw_enable_apis = s3, admin
rgw_multipart_min_part_size = 1
"""
# All data in memory; they outlive the OSD's end, but not its death.
MEMORY = """
osd_objectstore = memstore
memstore_device_bytes = 1073741824
osd_fast_shutdown = false
"""
# All data in a sparse file.
DISK = """
osd_objectstore = bluestore
bluestore_block_size = 17179869184
osd_memory_target = 939524096
bdev_enable_discard = false
"""


@dataclass(slots=True)
class Ceph:
    """A running Ceph; its data is in `directory`, or in memory."""

    directory: Path
    fsid: str
    configuration: Path  # the ceph.conf that clients take
    pool: str = POOL
    running: list[Program] = field(default_factory=list)

    def start(self, name: str, *command: str) -> Program:
        """Start one of Ceph's daemons in the foreground."""
        program = Program(
            name,
            [command[0], "--conf", self.configuration, *command[1:], "-f"],
            directory=self.directory,
            environment={"CEPH_CONF": str(self.configuration)},
        )
        self.running.append(program)
        return program

    def tool(self, program: str, *arguments: str) -> str:
        """Run one of Ceph's programs, `ceph`, `rbd` or `rados`, and return what it prints."""
        command = ("timeout", str(COMMAND_SECONDS), program, "--conf", self.configuration)
        return run_tool(*command, *arguments)

    def make_user(self, name: str, monitor: str, osd: str) -> None:
        """Let `client.NAME` in, with these capabilities; its key stands in the keyring."""
        caps = ("mon", monitor, "osd", osd)
        key = self.tool("ceph", "auth", "get-or-create", f"client.{name}", *caps)
        with (self.directory / "keyring").open("a") as keyring:
            keyring.write(key)

    def read_bytes(self) -> int:
        """Return how much data the OSD has given to clients so far."""
        socket = str(self.directory / "run/osd.0.asok")
        counters = json.loads(self.tool("ceph", "--admin-daemon", socket, "perf", "dump", "osd"))
        return int(counters["osd"]["op_out_bytes"])

    @property
    def osd(self) -> Program:
        """The OSD, which holds all data.  Without it every call on data waits."""
        return self._named("ceph-osd")

    @property
    def monitor(self) -> Program:
        """The monitor, without which nobody connects."""
        return self._named("ceph-mon")

    @contextmanager
    def paused(self, *programs: Program) -> Iterator[None]:
        """Let daemons stand still: their connections stay, and nobody answers."""
        for program in programs:
            program.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for program in programs:
                program.process.send_signal(signal.SIGCONT)

    def start_osd(self) -> None:
        """Start the OSD, and wait until it is up."""
        self.start("ceph-osd", "ceph-osd", "-i", "0")
        self._wait_for_osd("1 up")

    def stop_osd(self) -> None:
        """End the OSD; its data is there again when it is started."""
        self._end(self.osd)
        self.tool("ceph", "osd", "down", "0")
        self._wait_for_osd("0 up")

    def stop(self) -> None:
        """End everything."""
        for program in reversed(self.running):
            program.stop(codes=TERMINATED)

    def _named(self, name: str) -> Program:
        return next(program for program in self.running if program.name == name)

    def _end(self, program: Program) -> None:
        self.running.remove(program)
        program.stop(codes=TERMINATED)

    def _wait_for_osd(self, shown: str) -> None:
        until(
            f"an OSD map with {shown}",
            lambda: shown in self.tool("ceph", "osd", "stat"),
            OSD_SECONDS,
        )


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running radosgw, and the keys of its only user."""

    url: str
    access_key: str = "access"
    secret_key: str = "se/cret+"


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """Run Ceph, its data in memory, for the whole test run."""
    with running_ceph(tmp_path_factory.mktemp("ceph")) as running:
        yield running


@pytest.fixture(scope="session")
def radosgw(ceph: Ceph) -> Iterator[Gateway]:
    """Run Ceph's gateway for the whole test run."""
    with running_gateway(ceph) as running:
        yield running


@contextmanager
def running_ceph(
    directory: Path, *, on_disk: bool = False, authenticating: bool = False
) -> Iterator[Ceph]:
    """Run Ceph, with its files in `directory`, and its data there too if it is to be on disk.

    One that authenticates has a keyring in `directory`, with the key of `client.admin`.
    """
    _check_installed((*PROGRAMS, *(AUTHENTICATION_PROGRAMS if authenticating else ())))
    monitor = f"[v2:127.0.0.1:{free_port()},v1:127.0.0.1:{free_port()}]"
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    for name in ("run", "mon", "osd"):
        (directory / name).mkdir()
    classes = next(Path("/usr/lib").glob("*/rados-classes"))
    configuration = directory / "ceph.conf"
    configuration.write_text(
        CONFIGURATION.format(
            directory=directory,
            classes=classes,
            fsid=fsid,
            monitor=monitor,
            objectstore=DISK if on_disk else MEMORY,
            authentication="cephx" if authenticating else "none",
        )
    )
    started = Ceph(directory, fsid, configuration)
    common = ("--conf", configuration)
    try:
        monmap = str(directory / "monmap")
        run_tool("monmaptool", "--create", "--addv", "a", monitor, "--fsid", fsid, monmap)
        mkfs: list[str | Path] = [*common, "--mkfs", "-i", "a", "--monmap", monmap]
        if authenticating:
            everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
            for name in ("mon.", "client.admin"):
                _make_key(directory / "keyring", name, *everything)
            _make_key(
                directory / "osd/keyring",
                "osd.0",
                "--cap",
                "mon",
                "allow profile osd",
                *everything[3:],
            )
            mkfs += ["--keyring", directory / "keyring"]
        run_tool("ceph-mon", *mkfs)
        started.start("ceph-mon", "ceph-mon", "-i", "a")
        if authenticating:
            started.tool("ceph", "auth", "import", "-i", str(directory / "osd/keyring"))
        # The same id, else the OSD is never up, and nobody says why.
        started.tool("ceph", "osd", "new", osd)
        run_tool("ceph-osd", *common, "-i", "0", "--mkfs", "--osd-uuid", osd)
        started.tool("ceph", "osd", "crush", "add", "osd.0", "1", "host=h", "root=default")
        started.start_osd()
        make_pool(started, started.pool)
        yield started
    finally:
        started.stop()


def _make_key(keyring: Path, name: str, *capabilities: str) -> None:
    new = () if keyring.exists() else ("--create-keyring",)
    run_tool("ceph-authtool", *new, keyring, "--gen-key", "-n", name, *capabilities)


def make_pool(ceph: Ceph, name: str) -> None:
    """Make a pool for images."""
    ceph.tool("ceph", "osd", "pool", "create", name, "8")
    ceph.tool("ceph", "osd", "pool", "application", "enable", name, "rbd")


@contextmanager
def running_gateway(ceph: Ceph) -> Iterator[Gateway]:
    """Run the S3 gateway of a running Ceph."""
    _check_installed(GATEWAY_PROGRAMS)
    port = free_port()
    keys = Gateway(f"http://127.0.0.1:{port}")
    (ceph.directory / "rgw").mkdir()
    run_tool(
        *("radosgw-admin", "--conf", ceph.configuration, "-n", "client.rgw.a", "user", "create"),
        *("--uid=tests", "--display-name=tests", f"--access-key={keys.access_key}"),
        f"--secret-key={keys.secret_key}",
    )
    frontend = f"--rgw-frontends=beast endpoint=127.0.0.1:{port}"
    gateway = ceph.start("radosgw", "radosgw", "-n", "client.rgw.a", frontend)
    try:
        gateway.wait_for_port(port)
        yield keys
    finally:
        ceph.running.remove(gateway)
        gateway.stop(codes=TERMINATED)


def require_bindings(python: Path | None = None) -> None:
    """Skip, or fail, where Python (here, or that of another environment) has no rados and rbd."""
    if python is None:
        found = all(importlib.util.find_spec(name) for name in ("rados", "rbd"))
    else:
        done = subprocess.run([python, "-c", "import rados, rbd"], capture_output=True, check=False)
        found = done.returncode == 0
    if not found:
        unavailable(f"{python or 'this Python'} has no rados and rbd: make bindings")


def _check_installed(programs: Sequence[str]) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}: make packages")
