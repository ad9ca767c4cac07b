"""Whole images, and large ranges of them, read by some connections at once."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

from bench.load import CONNECTIONS, Answered, Target, percentiles
from bench.load.drain import READ_BYTES, SECONDS_MAX, Drained, Reader, Wanted, drained
from bench.server import LOAD_CORE, Server, pinned


@dataclass(frozen=True, slots=True)
class Wholes:
    """What came until the last connection was done."""

    bytes: int
    seconds: float
    done: tuple[float, ...]  # when each connection was, in seconds after the start, in order

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds


def read_whole(
    server: Server,
    targets: Sequence[Target],
    *,
    connections: int = 1,
    times: int = 1,
    seconds: float = 0,
) -> Wholes:
    """Have each connection read its image `times` times, and again until `seconds` have passed.

    Targets are dealt out in turn.  WrongAnswerError for any answer that is not 200, or ends early.
    """
    wanted = [Wanted.whole(server, target) for target in targets]
    deadline = time.monotonic() + seconds

    def images(one: Wanted) -> Iterator[Wanted]:
        yield from repeat(one, times)
        while time.monotonic() < deadline:
            yield one

    found = drained(server, [images(wanted[n % len(wanted)]) for n in range(connections)])
    return Wholes(found.bytes, found.seconds, found.done)


def read_ranges(
    server: Server,
    targets: Sequence[Target],
    range_bytes: int,
    *,
    seconds: float,
    connections: int = CONNECTIONS,
) -> Answered:
    """Have each connection read ranges at random places of random images for so many seconds.

    WrongAnswerError for any answer that is not that range.
    """
    deadline = time.monotonic() + seconds

    def chosen(seed: int) -> Iterator[Wanted]:
        choice = random.Random(seed)
        while True:
            target = choice.choice(targets)
            first = choice.randrange(target.size - range_bytes + 1)
            yield Wanted.part(server, target, first, range_bytes)
            if time.monotonic() >= deadline:
                return

    found: Drained = drained(server, [chosen(number) for number in range(connections)])
    return Answered(len(found.latencies), found.seconds, percentiles(sorted(found.latencies)))


def sha512_of(server: Server, target: Target) -> str:
    """Read an image once, on the load's core, for its hash."""
    whole = hashlib.sha512()
    with pinned(LOAD_CORE):
        reader = Reader(server, iter([Wanted.whole(server, target)]))
        try:
            reader.sock.settimeout(SECONDS_MAX)
            reader.ask()
            whole.update(reader.head() or b"")
            while reader.left:
                data = reader.sock.recv(READ_BYTES)
                if not data:
                    raise reader.wrong("the end came early")
                reader.left -= len(data)
                whole.update(data)
        finally:
            reader.sock.close()
    return whole.hexdigest()
