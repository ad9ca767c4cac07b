"""The real supervisor over stand-in children, real forks and signals, in a program of its own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.program import REPOSITORY, Program
from harness.standin import ANSWER_SECONDS, Client, Node
from harness.waiting import until

Start = Callable[..., Node]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    nodes: list[Node] = []

    def begin(**options: object) -> Node:
        nodes.append(Node(tmp_path, options))
        return nodes[-1]

    yield begin
    for node in nodes:
        node.clients.close()
        if node.program in Program.running:
            node.program.stop()


def listening(pid: int) -> list[tuple[str, int]]:
    """Return the addresses on which a process listens."""
    return [
        (str(found.laddr[0]), int(found.laddr[1]))
        for found in psutil.Process(pid).net_connections("tcp")
        if found.status == psutil.CONN_LISTEN
    ]


def test_connections_are_spread_evenly_and_freed(start: Start) -> None:
    node = start(workers=3)
    clients = [node.client() for _ in range(90)]
    by_worker = [client.who()[0] for client in clients]
    assert Counter(by_worker) == {0: 30, 1: 30, 2: 30}
    assert clients[0].ask("connections") == "90"
    for client, number in zip(clients, by_worker, strict=True):
        if number == 1:
            client.close()
    survivor = clients[by_worker.index(0)]
    until("the closed ones to be counted", lambda: survivor.ask("connections") == "60")
    # The workers' reports precede their next answers, but the supervisor reads them when it does.
    until("worker 1 to be preferred", lambda: node.client().who()[0] == 1)
    more = [node.client().who()[0] for _ in range(20)]
    assert Counter(more)[1] == 20


def test_metrics_connections_are_told_apart(start: Start) -> None:
    node = start(workers=2)
    assert node.client().ask("who").endswith(" api")
    assert node.client(1).ask("who").endswith(" metrics")


def test_a_dead_worker_is_replaced_and_the_others_notice_nothing(start: Start) -> None:
    node = start(workers=2)
    first, second = node.each_worker(2)
    victim = first.who()[1]
    kept = second.who()
    psutil.Process(victim).kill()
    assert until("its client to be cut off", first.ended)
    node.wait_for(rf"worker 0 \(process {victim}\) was killed by SIGKILL; it is started again")
    assert second.who() == kept
    until("the successor", lambda: node.client().who()[0] == 0)
    assert node.pid("worker 0") != victim
    # What the dead one held is not counted for ever.
    assert second.ask("connections") == str(node.opened - 1)


def test_restarts_back_off(start: Start, tmp_path: Path) -> None:
    crash = tmp_path / "crash"
    crash.touch()
    node = start(workers=2, behaviour={"crash_while": str(crash)})
    node.wait_for(r"worker 0 .* started again in 0\.8 s")
    crash.unlink()
    assert node.address()  # ready after all
    delays = re.findall(
        r"worker 0 \(process \d+\) exited with 7; it is started again in ([\d.]+) s", node.log
    )
    assert delays == ["0.1", "0.2", "0.4", "0.8"]
    assert len(re.findall("worker 1 started", node.log)) == 1
    node.each_worker(2)


def test_a_worker_that_hangs_is_killed_and_meanwhile_spared(start: Start) -> None:
    node = start(workers=2, hang_seconds=5.0)
    first, second = node.each_worker(2)
    pid = first.who()[1]
    psutil.Process(pid).suspend()
    node.wait_for(
        rf"worker 0 \(process {pid}\) was killed by SIGKILL \(it gave no sign of life for 5 s\)"
    )
    assert until("its client to be cut off", first.ended)
    assert second.who()[0] == 1
    until("the successor to serve", lambda: node.client().who()[0] == 0)


def test_the_keepers_death_touches_no_worker_and_links_are_renewed(start: Start) -> None:
    node = start(workers=2)
    clients = node.each_worker(2)
    before = [client.who() for client in clients]
    keeper = node.pid("keeper")
    assert [client.ask("keeper") for client in clients] == [str(keeper)] * 2
    psutil.Process(keeper).kill()
    node.wait_for(rf"keeper \(process {keeper}\) was killed by SIGKILL")
    node.wait_for(rf"process {keeper}\).*\n.*keeper started")
    successor = str(node.pid("keeper"))
    until("the next keeper", lambda: {client.ask("keeper") for client in clients} == {successor})
    assert [client.who() for client in clients] == before
    assert [client.ask("links") for client in clients] == ["2", "2"]


def test_a_restarted_worker_is_linked(start: Start) -> None:
    node = start(workers=1)
    pid = node.client().who()[1]
    psutil.Process(pid).kill()
    node.wait_for(rf"process {pid}\) was killed")
    client = node.client()  # waits in the backlog until the successor serves
    assert client.who()[1] != pid
    assert client.ask("keeper") == str(node.pid("keeper"))


def test_a_worker_that_loses_its_link_gets_another(start: Start) -> None:
    node = start(workers=1)
    client = node.client()
    keeper = str(node.pid("keeper"))
    assert client.ask("keeper") == keeper
    for links in ("2", "3"):
        client.ask("drop-link")
        until("another link", lambda: client.ask("keeper") == keeper)
        assert client.ask("links") == links


def test_purges_reach_all_other_workers(start: Start) -> None:
    node = start(workers=3)
    clients = node.each_worker(3)
    clients[1].ask("purge image-a")
    clients[2].ask("purge image-b")
    until("worker 0 to know both", lambda: len(clients[0].ask("purged").split()) == 3)
    assert clients[0].ask("purged") == "purged image-a image-b"
    until("worker 1 to know", lambda: clients[1].ask("purged") == "purged image-b")
    until("worker 2 to know", lambda: clients[2].ask("purged") == "purged image-a")


def test_without_a_cache_there_is_no_keeper(start: Start) -> None:
    node = start(cache=False)
    client = node.client()
    assert client.ask("keeper") == "gone"
    assert len(node.children()) == 1
    assert "keeper started" not in node.log


def test_the_first_connections_wait_for_the_cache(start: Start, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    node = start(workers=1, behaviour={"ready_after": str(flag)})
    worker = node.wait_for(r"worker 0 started \(process (\d+)\)")[1]
    clients = [Client(address) for address in listening(node.program.process.pid)]
    assert len(clients) == 2
    for client in clients:
        client.sock.sendall(b"keeper\n")
    assert "ready" not in node.log
    flag.touch()
    for client in clients:
        assert client.lines.readline().strip() == str(node.pid("keeper"))
        assert client.who()[1] == int(worker)
        client.close()


def test_a_keeper_that_never_comes_does_not_keep_connections_waiting(
    start: Start, tmp_path: Path
) -> None:
    node = start(workers=1, behaviour={"ready_after": str(tmp_path / "never")})
    keeper = int(node.wait_for(r"keeper started \(process (\d+)\)")[1])
    node.wait_for("worker 0 started")
    psutil.Process(keeper).kill()
    client = Client(listening(node.program.process.pid)[0])
    assert client.who()[0] == 0
    assert client.ask("keeper") == "gone"
    client.close()


def test_more_connections_than_allowed_wait(start: Start) -> None:
    node = start(workers=2, connections_max=4)
    clients = [node.client() for _ in range(4)]
    assert Counter(client.who()[0] for client in clients) == {0: 2, 1: 2}
    waiting = node.client()
    waiting.sock.sendall(b"who\n")
    assert clients[0].ask("connections") == "4"
    clients[3].close()
    assert waiting.lines.readline().split()[2] == "api"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_is_in_progress_then_ends_everything(
    start: Start, number: signal.Signals
) -> None:
    node = start(workers=2)
    clients = node.each_worker(2)
    address = node.address()
    children = node.children()
    assert len(children) == 3
    node.program.process.send_signal(number)
    node.wait_for("stopping")
    until("the listener to close", lambda: _refused(address))
    assert [client.who()[0] for client in clients] == [0, 1]
    assert "exited" not in node.log
    for client in clients:
        client.close()
    assert node.program.process.wait(ANSWER_SECONDS) == 0
    node.program.stop()  # looks for leftovers
    ends = re.findall(r"(worker \d|keeper) \(process \d+\) (.*)", node.log)
    assert sorted(ends[:2]) == [("worker 0", "exited with 0"), ("worker 1", "exited with 0")]
    assert ends[2:] == [("keeper", "exited with 0")]
    assert not [pid for pid in children if psutil.pid_exists(pid)]


def _refused(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) != 0


def test_a_stop_does_not_wait_for_ever(start: Start) -> None:
    node = start(workers=1, drain_seconds=0.0)
    client = node.client()
    client.who()
    node.program.stop()
    assert client.ended()
    assert "worker 0" in node.log
    assert "was killed by SIGKILL (its time to finish was over)" in node.log
    assert re.search(r"keeper \(process \d+\) exited with 0", node.log)


def test_asked_twice_it_stops_at_once(start: Start) -> None:
    node = start(workers=1, drain_seconds=3600.0)
    client = node.client()
    client.who()

    def told() -> bool:
        node.program.process.terminate()
        return "asked again" in node.log

    until("the second request", told)  # one that comes with the first is the same
    assert node.program.process.wait(ANSWER_SECONDS) == 0
    assert client.ended()


def test_a_stop_while_a_child_is_stopped_by_the_kernel(start: Start) -> None:
    node = start(workers=1, drain_seconds=0.0)
    psutil.Process(node.client().who()[1]).suspend()
    node.program.stop()


def test_children_end_when_the_supervisor_is_gone(start: Start) -> None:
    node = start(workers=2)
    client = node.client()
    kept = client.who()
    children = [psutil.Process(pid) for pid in node.children()]
    assert len(children) == 3
    node.program.process.kill()
    node.program.process.wait()
    assert client.who() == kept  # its response would be finished
    client.close()
    assert psutil.wait_procs(children, ANSWER_SECONDS)[1] == []
    Program.running.remove(node.program)


def test_a_signal_to_the_whole_group_is_a_stop_in_order(start: Start) -> None:
    node = start(workers=2)
    client = node.client()
    client.who()
    for pid in [*node.children(), node.program.process.pid]:
        psutil.Process(pid).send_signal(signal.SIGINT)
    node.wait_for("stopping")
    assert client.who()
    client.close()
    assert node.program.process.wait(ANSWER_SECONDS) == 0
    node.program.stop()
    assert "Traceback" not in node.log


def test_a_keeper_that_cannot_start_again_does_not_end_what_serves(
    start: Start, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    node = start(behaviour={"bad_config_while": str(wrong)})
    client = node.client()
    keeper = node.pid("keeper")
    assert client.ask("keeper") == str(keeper)
    wrong.touch()
    psutil.Process(keeper).kill()
    node.wait_for(r"keeper \(process \d+\) exited with 78; it is started again")
    assert client.ask("keeper") == "gone"
    wrong.unlink()
    until("the next keeper", lambda: client.ask("keeper") not in ("gone", str(keeper)))


def test_a_child_that_finds_the_configuration_wrong_ends_it_all(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "wrong").touch()
    node = start(workers=2, behaviour={"bad_config_while": str(tmp_path / "wrong")})
    assert node.program.process.wait(ANSWER_SECONDS) == 1
    assert "cacheproxy keeper: error: [cache] image_cache_size: too small for this disk" in node.log
    assert "Traceback" not in node.log
    assert len(re.findall("keeper started", node.log)) == 1
    assert "started again" not in node.log
    node.program.stop(codes=[1])


def test_an_exception_in_a_child_is_logged_and_the_child_replaced(start: Start) -> None:
    node = start(workers=2, behaviour={"raises": True})
    node.wait_for(r"worker 0 \(process \d+\) exited with 70; it is started again in 0.2 s")
    assert "cacheproxy worker 0: error: it cannot go on" in node.log
    assert "RuntimeError: stand-in" in node.log


def test_children_hold_nothing_of_the_supervisors(start: Start) -> None:
    node = start(workers=2)
    node.each_worker(2)
    node.address()
    assert [listening(pid) for pid in node.children()] == [[], [], []]
    # The last one started, which inherits most, has its control, its link and its one client, and
    # of its own at most what a loop needs.
    sockets = [
        fd
        for fd in Path(f"/proc/{node.pid('worker 1')}/fd").iterdir()
        if str(fd.readlink()).startswith("socket:")
    ]
    assert len(sockets) <= 3 + 2


def test_the_supervisor_stays_small() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys, cacheproxy.cli.serve; print([m for m in ('asyncio', 'aiohttp', 'lmdb', 'uvloop') if m in sys.modules])",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
