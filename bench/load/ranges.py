"""Random ranges, as fast as a server answers over some connections: wrk with a script."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.load import CONNECTIONS, Answered, Latencies, Target, WrongAnswerError
from bench.scenario import MissingError
from bench.server import LOAD_CORE, Server, pinned

SCRIPT = Path(__file__).with_suffix(".lua")
HEAD_BYTES_MAX = 2048  # of an answer
ERRORS = ("connect", "read", "write", "status", "timeout")
STOP_SECONDS = 30.0


def random_ranges(  # noqa: PLR0913  a load is all of these
    server: Server,
    targets: Sequence[Target],
    range_bytes: int,
    *,
    seconds: float,
    connections: int = CONNECTIONS,
    seed: int = 1,
) -> Answered:
    """Read ranges at random places of random images; WrongAnswerError if any answer is not one.

    A duration is whole seconds (wrk).  Each status is looked at, and the bytes of all answers.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise MissingError("no wrk here: Debian's package wrk (make bench-deps)")
    wanted = [str(each) for one in targets for each in (one.path, one.size, one.token)]
    command = [
        *(wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"),
        *("-s", str(SCRIPT), server.url),
        *("--", str(seed), str(range_bytes), *wanted),
    ]
    with pinned(LOAD_CORE):
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + STOP_SECONDS, check=False
        )
    if ran.returncode:
        raise WrongAnswerError(f"{server.name}: wrk: {ran.stderr or ran.stdout}")
    found = json.loads(ran.stdout.splitlines()[-1])
    check(server.name, found, range_bytes, connections)
    return Answered(
        requests=found["requests"],
        seconds=found["microseconds"] / 1e6,
        latencies=Latencies(*(found[each] / 1e6 for each in ("p50", "p99", "p999"))),
    )


def check(name: str, found: dict[str, int], range_bytes: int, connections: int) -> None:
    """Raise WrongAnswerError for what wrk counts as an error, and for bodies of another length."""
    errors = {each: found[each] for each in ERRORS if found[each]}
    if errors or not found["requests"]:
        raise WrongAnswerError(f"{name}: {found['requests']} answers, errors: {errors}")
    # At the end each connection may be in the middle of an answer.
    least = found["requests"] * range_bytes
    most = (found["requests"] + connections) * (range_bytes + HEAD_BYTES_MAX)
    if not least < found["bytes"] < most:
        told = f"{found['requests']} answers with {found['bytes']} bytes"
        raise WrongAnswerError(f"{name}: {told}, where each has {range_bytes} and a head")
