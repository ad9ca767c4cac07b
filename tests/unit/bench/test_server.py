"""Servers that a measurement starts: what they cost, where they run, and how they end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from bench.cost import busy_seconds, costing
from bench.daemons import free_port
from bench.scenario import MissingError
from bench.server import CORES, LOAD_CORE, SERVER_CORE, Server, path_of, pinned, running

# Before it serves: a child that uses processor time and is gone, and one that stays.
PROGRAM = """
import http.server, mmap, os, sys, time
if not (child := os.fork()):
    while time.process_time() < 0.2:
        pass
    os._exit(0)
os.waitpid(child, 0)
if not os.fork():
    time.sleep(600)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"# HELP x y\\nx{a=\\"1\\"} 2\\ny 3.5\\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def start(home: Path, source: str = PROGRAM) -> list[str | Path]:
    program = home / "program.py"
    program.write_text(source)
    return [sys.executable, program]


def test_a_server_and_what_it_costs(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*start(tmp_path), str(port)]
    with running("program", command, tmp_path, url, metrics_url=f"{url}/metrics") as server:
        assert len(server.processes()) == 2
        assert server.cpu_seconds() >= 0.2, "the time of the dead counts"
        assert server.anonymous_bytes() > 1 << 20
        assert server.peak_bytes() > server.anonymous_bytes()
        assert server.metrics() == {'x{a="1"}': 2.0, "y": 3.5}
        assert not server.ended()
        assert server.log.read_text().startswith("serving")
        result, cost = costing(server, server.metrics)
        assert result["y"] == 3.5
        assert cost.seconds > 0
        assert cost.cpu_seconds >= 0
        for child in server.processes():
            child.terminate()
        psutil.wait_procs([psutil.Process(server.pid)], timeout=0)
    assert server.ended()


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    command = start(tmp_path, "raise SystemExit('no luck')")
    with (
        pytest.raises(RuntimeError, match=r"(?s)program did not start.*no luck"),
        running("program", command, tmp_path, "http://127.0.0.1:1"),
    ):
        pass


def test_what_is_started_while_pinned_stays_there(tmp_path: Path) -> None:
    port = free_port()
    before = os.sched_getaffinity(0)
    with pinned(LOAD_CORE):
        assert os.sched_getaffinity(0) == {LOAD_CORE}
        command = [*start(tmp_path), str(port)]
        with running("program", command, tmp_path, f"http://127.0.0.1:{port}") as server:
            for process in server.processes():
                assert os.sched_getaffinity(process.pid) == {LOAD_CORE}
            for process in server.processes()[1:]:
                process.terminate()
    assert os.sched_getaffinity(0) == before


def test_a_core_that_is_not_there() -> None:
    with pytest.raises(MissingError, match="two are needed"), pinned(100_000):
        pass
    with pytest.raises(ValueError, match="no core"):
        busy_seconds(100_000)


def test_the_two_cores() -> None:
    assert SERVER_CORE in CORES
    assert LOAD_CORE in CORES
    assert busy_seconds(SERVER_CORE) > 0


def test_nobody_is_a_server_that_ended() -> None:
    assert Server("init", "", 1).ended(), "no child of ours"
    assert path_of("x") == "/v2/images/x/file"
