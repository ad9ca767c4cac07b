"""The units under a real systemd, in their sandbox; and what systemd-analyze says of them."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from http.client import RemoteDisconnected
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil
import pytest

from harness.downloads import Clients, clients
from harness.http import ask, connected
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.origin import Origin, origin
from harness.program import free_port
from harness.systemd import UNITS, Machine, commands, running_systemd
from harness.waiting import until

P = ParamSpec("P")
T = TypeVar("T")
MIB = 1 << 20
SERVICE, SOCKET, REGISTRY = "cacheproxy.service", "cacheproxy.socket", "cacheproxy-registry.service"
EXPOSURE_MAX = 16  # tenths; what is left is the network that it is there for
RESTARTS = 3
CONFIGURATION = """
[DEFAULT]
bind_port = {port}
drain_seconds = 3
[upstream]
url = {upstream}
[cache]
image_cache_size = 256M
[metrics]
bind_port = {metrics}
"""
CATALOG = """
[DEFAULT]
bind_port = {port}
[glance_store]
filesystem_store_datadir = /var/lib/cacheproxy-registry/images
"""
CUT = ("stopping", "requests in progress have 4 seconds", "1 requests are cut off", "stopped")
LISTENS = "[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n"
LOGS = "[Service]\nStandardOutput=append:{log}\nStandardError=append:{log}\nProtectHome=no\n"
NOVA = """
[Unit]
Description=Stands in for Nova: fails if the cache does not answer when it starts
[Service]
Type=oneshot
RemainAfterExit=yes
StandardOutput=append:{log}
StandardError=append:{log}
ExecStart=bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; printf "GET /versions HTTP/1.0\\r\\n\\r\\n" >&3; grep -q " 200 " <&3'
"""
BOOT = "[Unit]\nWants=nova-compute.service cacheproxy.service\n"


async def apart(what: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Look from a thread: the node may be asking the upstream, which this loop plays."""
    return await asyncio.to_thread(what, *args, **kwargs)


@dataclass
class Node:
    """A service under systemd, its upstream and its clients."""

    machine: Machine
    glance: Origin
    ask: Clients
    metrics_url: str

    def figure(self, name: str) -> float:
        page = ask("GET", f"{self.metrics_url}/metrics").expect(200).body.decode()
        (value,) = re.findall(rf"^cacheproxy_{re.escape(name)} (\S+)$", page, re.MULTILINE)
        return float(value)

    def status(self) -> str:
        return self.machine.show(SERVICE, "StatusText")

    def log(self) -> str:
        return self.machine.log.read_text()


@asynccontextmanager
async def node(
    directory: Path, more: str = "", units: Mapping[str, str] | None = None
) -> AsyncIterator[Node]:
    """Boot a systemd with our units, whose upstream is played by the test."""
    port, metrics = free_port(), free_port()
    log = LOGS.format(log=directory / "service.log")
    async with origin() as glance, clients(f"http://127.0.0.1:{port}") as asking:
        text = CONFIGURATION.format(port=port, metrics=metrics, upstream=glance.url)
        context = running_systemd(
            directory,
            changes={SERVICE: log + more, SOCKET: LISTENS.format(port=port)},
            files={"cacheproxy/cacheproxy.conf": text},
            units={
                name: unit.format(port=port, log=directory / "service.log")
                for name, unit in (units or {}).items()
            },
        )
        machine = await apart(context.__enter__)
        try:
            yield Node(machine, glance, asking, f"http://127.0.0.1:{metrics}")
            await asking.close()
        finally:
            await apart(context.__exit__, None, None, None)


async def test_a_node_serves_from_its_sandbox_before_nova_starts(tmp_path: Path) -> None:
    units = {"nova-compute.service": NOVA, "node.target": BOOT}
    async with node(tmp_path, units=units) as told:
        machine = told.machine
        await apart(machine.systemctl, "start", "node.target")
        assert await apart(machine.show, "nova-compute.service", "Result") == "success"
        assert await apart(told.status) == "serving: 1 of 1 workers, cache on"
        data = random_bytes(9 * MIB, seed=1)
        image = told.glance.add(data)
        for _ in range(2):
            assert await told.ask(image.id).body() == data
        assert await apart(told.figure, 'requests_total{result="hit"}') == 1
        assert "disk       normal" in await apart(machine.run, "cacheproxy", "status")
        assert "nothing is damaged" in await apart(machine.run, "cacheproxy", "verify")
        supervisor = await apart(machine.main_pid)
        for process in (supervisor, *supervisor.children()):
            status = await apart(Path(f"/proc/{process.pid}/status").read_text)
            assert re.search(r"NoNewPrivs:\t1$", status, re.MULTILINE)
            assert re.search(r"CapBnd:\t0+$", status, re.MULTILINE)
            assert re.search(r"Seccomp:\t2$", status, re.MULTILINE)
            assert process.uids().effective != 0
        assert not re.search("not permitted|denied|cannot|Traceback", await apart(told.log))
        await apart(machine.systemctl, "stop", SERVICE, SOCKET)
        assert await apart(machine.show, SERVICE, "Result") == "success"
        assert "worker 0 (process" in await apart(told.log)


async def test_a_reload_takes_what_is_right_and_says_what_is_wrong(tmp_path: Path) -> None:
    async with node(tmp_path) as told:
        machine = told.machine
        await apart(machine.systemctl, "start", SERVICE)
        file = tmp_path / "etc/cacheproxy/cacheproxy.conf"
        text = await apart(file.read_text)
        await apart(file.write_text, text.replace("image_cache_size", "image_cache_sice"))
        assert "failed" in await apart(machine.systemctl, "reload", SERVICE, check=False)
        assert "did you mean image_cache_size" in await apart(told.log)
        assert await apart(told.figure, "cache_limit_bytes") == 256 * MIB
        await apart(file.write_text, text.replace("256M", "300M"))
        await apart(machine.systemctl, "reload", SERVICE)
        await apart(until, "the new limit", lambda: told.figure("cache_limit_bytes") == 300 * MIB)
        assert await apart(machine.show, SERVICE, "ActiveState") == "active"


async def test_restarts_refuse_nobody_and_end_every_process(tmp_path: Path) -> None:
    async with node(tmp_path) as told:
        machine = told.machine
        await apart(machine.systemctl, "start", SERVICE)
        data = random_bytes(3 * MIB, seed=2)
        image = told.glance.add(data)
        for _ in range(RESTARTS):
            restart = asyncio.create_task(apart(machine.systemctl, "restart", SERVICE))
            while not restart.done():
                assert await told.ask(image.id).body() == data
            await restart
        # Whatever becomes of the supervisor, nothing of it stays, and another one serves.
        before = await apart(machine.main_pid)
        family = [before, *before.children()]
        before.kill()
        assert await told.ask(image.id).body() == data
        _, left = await apart(psutil.wait_procs, family, 20)
        assert left == []
        assert await apart(machine.show, SERVICE, "NRestarts") == "1"


async def test_a_node_that_stands_still_is_started_again(tmp_path: Path) -> None:
    async with node(tmp_path, "WatchdogSec=3\nTimeoutAbortSec=1\n") as told:
        machine = told.machine
        await apart(machine.systemctl, "start", SERVICE)
        before = await apart(machine.main_pid)
        before.send_signal(signal.SIGSTOP)
        data = random_bytes(MIB, seed=3)
        assert await told.ask(told.glance.add(data).id).body() == data
        assert (await apart(machine.main_pid)).pid != before.pid
        assert "Watchdog timeout" in await apart(machine.program.tail)


async def test_a_long_drain_is_not_cut_short(tmp_path: Path) -> None:
    async with node(tmp_path, "TimeoutStopSec=2\n") as told:
        machine = told.machine
        file = tmp_path / "etc/cacheproxy/cacheproxy.conf"
        text = await apart(file.read_text)
        await apart(file.write_text, text.replace("drain_seconds = 3", "drain_seconds = 600"))
        await apart(machine.systemctl, "start", SERVICE)
        data = random_bytes(48 * MIB, seed=4)
        slow = told.ask(told.glance.add(data).id, paused=True)
        await slow.answered()
        await apart(machine.systemctl, "stop", "--no-block", SERVICE, SOCKET)
        began = time.monotonic()
        await apart(until, "the stop to have its time", lambda: time.monotonic() > began + 4)
        assert await apart(machine.show, SERVICE, "ActiveState") == "deactivating"
        slow.go_on()
        assert await slow.body() == data
        await apart(until, "it to stop", lambda: machine.show(SERVICE, "ActiveState") == "inactive")
        assert await apart(machine.show, SERVICE, "Result") == "success"


@contextmanager
def catalog(
    directory: Path, configured: str = "", more: str = ""
) -> Iterator[tuple[Machine, ImagesApi]]:
    """Boot a systemd with our units, and start the catalog under it."""
    port = free_port()
    with running_systemd(
        directory,
        changes={REGISTRY: LOGS.format(log=directory / "service.log") + more},
        files={"cacheproxy/registry.conf": CATALOG.format(port=port) + configured},
    ) as machine:
        file = "/etc/cacheproxy/registry.conf"
        machine.run(
            *("runuser", "-u", "cacheproxy-registry", "--"),
            *("cacheproxy-registry", "--config-file", file, "db", "sync"),
        )
        machine.systemctl("start", REGISTRY)
        yield machine, ImagesApi(f"http://127.0.0.1:{port}")


def test_the_catalog_serves_from_its_sandbox(tmp_path: Path) -> None:
    with catalog(tmp_path) as (machine, api):
        data = random_bytes(3 * MIB, seed=5)
        image = api.add(data)
        assert api.download(image).expect(200).body == data
        machine.systemctl("stop", REGISTRY)
        assert machine.show(REGISTRY, "Result") == "success"
        assert "Traceback" not in machine.log.read_text()


def test_the_catalogs_drain_is_bounded_by_itself_alone(tmp_path: Path) -> None:
    """What does not end in its time is cut off in order: systemd kills nothing, nothing is left."""
    drain = "[cacheproxy]\ndrain_seconds = 4\n"
    with catalog(tmp_path, drain, "TimeoutStopSec=1\n") as (machine, api):
        image = api.create()
        with closing(connected(api.url)) as endless:
            endless.putrequest("PUT", f"/v2/images/{image}/file")
            endless.putheader("Content-Type", "application/octet-stream")
            endless.putheader("Content-Length", str(2 * MIB))
            endless.endheaders(random_bytes(MIB, seed=6))
            until("the upload", lambda: api.show(image)["status"] == "saving")
            machine.systemctl("stop", REGISTRY)
            with pytest.raises((ConnectionError, RemoteDisconnected)):
                endless.getresponse()
        assert machine.show(REGISTRY, "Result") == "success"
        told = machine.log.read_text()
        steps = [told.index(step) for step in CUT]
        assert steps == sorted(steps)
        assert "Traceback" not in told
        assert "State 'stop-sigterm' timed out" not in machine.program.tail()
        state = tmp_path / "state/cacheproxy-registry"
        assert list((state / "images").iterdir()) == []
        with closing(sqlite3.connect(state / "registry.sqlite")) as database:
            assert database.execute("SELECT status FROM images").fetchall() == [("queued",)]


@pytest.mark.parametrize("unit", [SERVICE, REGISTRY])
def test_little_is_left_to_an_attacker(unit: str) -> None:
    (analyze,) = commands("systemd-analyze")
    subprocess.run(
        [analyze, "security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", UNITS / unit],
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_systemd_understands_every_line() -> None:
    (analyze,) = commands("systemd-analyze")
    done = subprocess.run(
        [analyze, "verify", *(UNITS / name for name in (SERVICE, SOCKET, REGISTRY))],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    # The programs are not installed where the tests run.
    said = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert [line for line in said if "cacheproxy" in line] == []
