"""Which chunks go when room is needed.  Pure.

A chunk has a *place*: a queue and a stamp in it, the smaller the older.  Places are kept with the
chunks in the index, so that they cost no memory; a policy decides them from nothing but the place
itself, and is asked about one chunk at a time, from the old end of its queues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

PINNED = 255  # the queue of chunks that stay: no policy has it, or is asked about what is in it


class Place(NamedTuple):
    """Where a chunk stands in the order of eviction."""

    queue: int  # 0..255
    stamp: int  # unique, grows by one with each placing
    hits: int = 0  # 0..255, what a policy counts in it


class Candidate(NamedTuple):
    """A chunk at the old end of a queue."""

    digest: bytes
    place: Place
    cost: int  # bytes on disk


class Policy(Protocol):
    """How places are given, and who has to go."""

    @property
    def queues(self) -> Sequence[int]:
        """The queues in the order in which victims are looked for."""

    def admit(self, stamp: int) -> Place:
        """Place a chunk that was just stored."""

    def touch(self, place: Place, stamp: int) -> Place:
        """Place a chunk that was used."""

    def judge(self, place: Place, stamp: int) -> Place | None:
        """Decide about the oldest of a queue: None to evict it, or its new place."""


class LeastRecentlyUsed:
    """One queue by the time of the last use."""

    queues: Sequence[int] = (0,)

    def admit(self, stamp: int) -> Place:
        """Place a chunk that was just stored: at the young end."""
        return Place(0, stamp)

    def touch(self, place: Place, stamp: int) -> Place:
        """Place a chunk that was used: at the young end."""
        return Place(place.queue, stamp, place.hits)

    def judge(self, place: Place, stamp: int) -> Place | None:
        """Evict it; who was used would not be the oldest."""
        del place, stamp
        return None


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
        place = policy.judge(candidate.place, next_stamp())
        if place is None:
            verdict.victims.append(candidate)
            verdict.freed += candidate.cost
        else:
            verdict.moved.append((candidate.digest, place))
    return verdict
