"""The real supervisor under a service manager: what it tells, and sockets that outlive it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.activation import Manager, listening
from harness.program import Program
from harness.standin import Client, Node
from harness.waiting import until

Start = Callable[..., Node]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


@pytest.fixture
def start(tmp_path: Path, manager: Manager) -> Iterator[Start]:
    nodes: list[Node] = []

    def begin(
        sockets: dict[str, socket.socket] | None = None, watchdog: float = 0, **options: object
    ) -> Node:
        environment = dict(manager.environment)
        if watchdog:
            environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        nodes.append(Node(tmp_path, options, environment=environment, sockets=sockets))
        return nodes[-1]

    yield begin
    for node in nodes:
        node.clients.close()
        if node.program in Program.running:
            node.program.stop()


def test_ready_is_told_when_clients_are_served(
    start: Start, manager: Manager, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    node = start(workers=2, behaviour={"ready_after": str(flag)})
    manager.wait_for("STATUS=starting: 2 of 2 workers, cache away")
    assert not manager.hears("READY=1")
    flag.touch()
    manager.wait_for("READY=1")
    manager.wait_for("STATUS=serving: 2 of 2 workers, cache on")
    node.client().who()
    node.clients.close()
    node.program.stop()
    manager.wait_for("STOPPING=1")
    assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in manager.heard)
    assert manager.heard.count("READY=1") == 1


def test_a_reload_is_told(start: Start, manager: Manager) -> None:
    node = start()
    manager.wait_for("READY=1")
    node.program.process.send_signal(signal.SIGHUP)
    manager.wait_for("READY=1", times=2)
    told = [line.partition("=")[0] for line in manager.heard]
    assert told.index("RELOADING") < told.index("MONOTONIC_USEC")
    assert "READY" in told[told.index("RELOADING") :]


def test_a_stop_that_takes_long_says_that_it_goes_on(start: Start, manager: Manager) -> None:
    node = start(drain_seconds=600.0)
    client = node.client()
    client.who()
    node.program.process.terminate()
    manager.wait_for("EXTEND_TIMEOUT_USEC=15000000", times=2)
    client.close()


def test_the_watchdog_starves_when_nobody_serves_any_more(
    start: Start, manager: Manager, tmp_path: Path
) -> None:
    crash = tmp_path / "crash"
    node = start(
        watchdog=0.3, behaviour={"crash_while": str(crash), "lifeless_seconds": 0.5}, cache=False
    )
    manager.wait_for("WATCHDOG=1", times=5)
    crash.touch()
    psutil.Process(node.pid("worker 0")).kill()
    node.wait_for(r"worker 0 .* exited with 7; it is started again in 0\.8 s")
    assert manager.hears("WATCHDOG=1")  # what was told while it was still hoped for
    before = manager.heard.count("WATCHDOG=1")
    node.wait_for(r"worker 0 .* exited with 7; it is started again in 1\.6 s")
    assert not manager.hears("WATCHDOG=1", times=before + 1)
    crash.unlink()
    manager.wait_for("WATCHDOG=1", times=before + 5)


def test_a_worker_that_finds_the_configuration_wrong_ends_it_all(
    start: Start, manager: Manager
) -> None:
    node = start(cache=False, behaviour={"worker_refuses": True})
    until("it to end", lambda: node.program.process.poll() is not None)
    node.program.stop(codes=(1,))
    assert "nothing that a worker could use" in node.log
    assert not manager.hears("READY=1")


def test_a_restart_refuses_nobody(start: Start, manager: Manager) -> None:
    with listening() as api, listening() as metrics:
        sockets = {"metrics": metrics, "api": api}
        node = start(sockets)
        manager.wait_for("READY=1")
        before, scraper = node.client(), node.client(1)
        assert node.address() == api.getsockname()
        assert scraper.ask("who").endswith("metrics")
        _, pid = before.who()
        node.clients.close()
        node.program.stop()
        with Client(api.getsockname()) as waiting:  # in the backlog: nobody is there
            waiting.send("who")
            node = start(sockets)
            assert int(waiting.receive().split()[1]) != pid
        assert "systemd listens for us" in node.log  # the settings say other ports
