"""What to do for each chunk of a window: the one decision of the read path.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby


class Step(Enum):
    """How a chunk reaches its reader."""

    HIT = "hit"  # it is stored: send it
    JOIN = "join"  # somebody is fetching it: wait for it
    FETCH = "fetch"  # nobody has it: fetch it


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring chunks `first <= index < stop` with the same step."""

    step: Step
    first: int
    stop: int


def plan(
    window: Iterable[int], present: Callable[[int], bool], flying: Callable[[int], bool]
) -> Iterator[Segment]:
    """Cut an ascending run of chunk indexes into segments, in order, neighbours merged.

    `present` wins over `flying`: a chunk that has landed is a hit even if its fetch goes on.
    """

    def step(index: int) -> Step:
        if present(index):
            return Step.HIT
        return Step.JOIN if flying(index) else Step.FETCH

    for kind, group in groupby(((step(index), index) for index in window), lambda pair: pair[0]):
        indexes = [index for _, index in group]
        yield Segment(kind, indexes[0], indexes[-1] + 1)


def longest_fetch(
    start: int,
    stop: int,
    chunks_max: int,
    present: Callable[[int], bool],
    flying: Callable[[int], bool],
) -> Segment | None:
    """Return the first run to fetch at or after `start` and before `stop`, cut to `chunks_max`."""
    for index in range(start, stop):
        if present(index) or flying(index):
            continue
        end = index + 1
        while end < min(stop, index + chunks_max) and not (present(end) or flying(end)):
            end += 1
        return Segment(Step.FETCH, index, end)
    return None
