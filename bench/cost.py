"""What an answer costs: the processor's time of a server, and how busy the two cores were."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.server import LOAD_CORE, SERVER_CORE, Server

T = TypeVar("T")

TICK = 1 / os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)  # the places of idle and iowait in a line of /proc/stat (proc(5))
_OWN = 8  # how many there are before the time of guests, which is in others


@dataclass(frozen=True, slots=True)
class Cost:
    """What something cost while it ran."""

    seconds: float
    cpu_seconds: float  # of the server's processes
    server_busy: float  # share of the time that its core was not idle, whoever used it
    load_busy: float  # the same of the load's core


def costing(server: Server, run: Callable[[], T]) -> tuple[T, Cost]:
    """Run, and return the result with what it cost."""
    cpu = server.cpu_seconds()
    busy = [busy_seconds(core) for core in (SERVER_CORE, LOAD_CORE)]
    began = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - began
    shares = [
        (busy_seconds(core) - then) / seconds
        for core, then in zip((SERVER_CORE, LOAD_CORE), busy, strict=True)
    ]
    return result, Cost(seconds, server.cpu_seconds() - cpu, *shares)


def busy_seconds(core: int) -> float:
    """Return for how long a core has not been idle since the start of the machine."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, _, ticks = line.partition(" ")
        if name == f"cpu{core}":
            fields = [int(each) for each in ticks.split()[:_OWN]]
            return sum(n for place, n in enumerate(fields) if place not in _IDLE) * TICK
    raise ValueError(f"no core {core}")
