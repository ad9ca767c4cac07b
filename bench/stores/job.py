"""What one process is asked to do with a store, and what it tells of it.

Both sides import this, Glance's interpreter too, which has nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.cost import busy_seconds

UP, UP_HASHED, DOWN, RANGES = "up", "up-hashed", "down", "ranges"
CHECK, DELETE = "check", "delete"
HASHES = ("md5", "sha512")  # what Glance computes of everything that it stores
_BLOCK_BYTES = (7 << 20) - 1  # of random bytes; no size of parts is a multiple of it


@dataclass(frozen=True, slots=True)
class Job:
    """One operation in a process of its own; `known` is an object to warm up with, if there is one."""

    verb: str
    configuration: str  # a file with Glance's options
    uri: str = ""
    known: str = ""
    name: str = ""
    size: int = 0
    spans: tuple[tuple[int, int], ...] = ()  # start and stop
    cores: tuple[int, ...] = ()  # whose work is told

    @classmethod
    def told(cls) -> Job:
        """Read it from the command line."""
        return cls(**json.loads(sys.argv[1]))

    def command(self) -> str:
        """Write it for a command line."""
        return json.dumps(asdict(self))


@dataclass(slots=True)
class Done:
    """What it took; printed as the last line."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0  # user and system, of the process
    peak_bytes: int = 0  # resident
    busy: list[float] = field(default_factory=list)  # shares of the time, of the job's cores
    moved: int = 0  # bytes that were asked for, or written
    result: str = ""  # an address, or a digest
    refused: bool = False  # ranges; what came before the span was read, too

    def tell(self) -> None:
        """Print it."""
        print(json.dumps(asdict(self)), flush=True)


@contextmanager
def measured(job: Job, done: Done) -> Iterator[None]:
    """Fill in what the block took."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    busy = [busy_seconds(core) for core in job.cores]
    cpu, began = _cpu_seconds(), time.perf_counter()
    yield
    done.seconds, done.cpu_seconds = time.perf_counter() - began, _cpu_seconds() - cpu
    done.peak_bytes = _peak_bytes()
    for core, then in zip(job.cores, busy, strict=True):
        done.busy.append((busy_seconds(core) - then) / done.seconds)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("no peak in /proc/self/status")


class Source:
    """An image that costs a copy to read: random bytes, repeated."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._block = random.Random(1).randbytes(min(size, _BLOCK_BYTES))
        self._place = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to so many bytes; none at the end."""
        room = len(self._block) - self._place
        wanted = min(room, self._left) if size < 0 else min(size, room, self._left)
        data = self._block[self._place : self._place + wanted]
        self._place = (self._place + wanted) % len(self._block)
        self._left -= wanted
        return data


def digest_of(pieces: Iterator[bytes]) -> str:
    """Return the SHA-256, in hex."""
    whole = hashlib.sha256()
    for piece in pieces:
        whole.update(piece)
    return whole.hexdigest()
