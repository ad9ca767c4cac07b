"""Which chunks go when room is needed.  Pure.

A chunk has a *place*: a queue and a stamp in it, the smaller the older.  Places are kept with the
chunks in the index, so that they cost no memory; a policy decides them from nothing but the place
itself and a sample of what is used, and is asked about one chunk at a time, from the old end of its
queues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

PINNED = 255  # the queue of chunks that stay: no policy has it, or is asked about what is in it


class Place(NamedTuple):
    """Where a chunk stands in the order of eviction."""

    queue: int  # 0..255
    stamp: int  # unique, grows by one with each placing
    hits: int = 0  # 0..255, what a policy counts in it


class Candidate(NamedTuple):
    """A chunk at the old end of a queue, or one that was used."""

    digest: bytes
    place: Place
    cost: int  # bytes on disk


class Policy(Protocol):
    """How places are given, and who has to go."""

    @property
    def queues(self) -> Sequence[int]:
        """The queues in which victims are looked for."""

    def admit(self, digest: bytes, cost: int, stamp: int) -> Place:
        """Place a chunk that was just stored."""

    def touch(self, chunk: Candidate, stamp: int) -> Place:
        """Place a chunk that was used at `stamp`; this is told late, and once for many uses."""

    def survey(self, sums: Mapping[int, tuple[int, int]]) -> None:
        """Learn how many chunks, of how many bytes, are in each queue: a search of all begins."""

    def first(self, heads: Mapping[int, int]) -> int:
        """Choose the queue to look at next, of those that have an oldest chunk: queue → stamp."""

    def judge(self, chunk: Candidate, stamp: int) -> Place | None:
        """Decide about the oldest of a queue: None to evict it, or its new place."""

    def pack(self) -> bytes:
        """Return what should outlive a restart, in few bytes."""

    def unpack(self, packed: bytes) -> None:
        """Take up what `pack` gave; anything else is passed over."""


class LeastRecentlyUsed:
    """One queue by the time of the last use.

    What another policy has left in its queues is ordered by the last use as well.
    """

    queues: Sequence[int] = (0, 1)

    def admit(self, digest: bytes, cost: int, stamp: int) -> Place:
        """Place a chunk that was just stored: at the young end."""
        del digest, cost
        return Place(0, stamp)

    def touch(self, chunk: Candidate, stamp: int) -> Place:
        """Place a chunk that was used: at the young end."""
        return Place(0, stamp, chunk.place.hits)

    def survey(self, sums: Mapping[int, tuple[int, int]]) -> None:
        """Learn nothing."""

    def first(self, heads: Mapping[int, int]) -> int:
        """Choose the queue with the oldest of all."""
        return min(heads, key=heads.__getitem__)

    def judge(self, chunk: Candidate, stamp: int) -> Place | None:
        """Evict it; who was used would not be the oldest."""
        del chunk, stamp
        return None

    def pack(self) -> bytes:
        """Return nothing: the order is all there is."""
        return b""

    def unpack(self, packed: bytes) -> None:
        """Take up nothing."""


@dataclass(slots=True)
class Verdict:
    """What to do: chunks to evict, and chunks to place anew."""

    victims: list[Candidate] = field(default_factory=list)
    moved: list[tuple[bytes, Place]] = field(default_factory=list)
    freed: int = 0  # bytes on disk of all victims


def choose(
    candidates: Iterable[Candidate],
    policy: Policy,
    wanted: int,
    *,
    evictable: Callable[[bytes], bool],
    next_stamp: Callable[[], int],
) -> Verdict:
    """Choose victims, oldest first, until `wanted` bytes are found or the candidates end."""
    verdict = Verdict()
    for candidate in candidates:
        if verdict.freed >= wanted:
            break
        if not evictable(candidate.digest):
            continue
        place = policy.judge(candidate, next_stamp())
        if place is None:
            verdict.victims.append(candidate)
            verdict.freed += candidate.cost
        else:
            verdict.moved.append((candidate.digest, place))
    return verdict
