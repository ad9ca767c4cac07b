"""Many stories in one run: where they part is told at its end, all of it and not the first only."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from differential.stories import Story
from harness.results import note

PARTINGS_MAX = 20  # of one cause, most likely


class _Sides(Protocol):
    stories: int
    calls: int
    explained: Counter[str]

    def tell(self, story: Story) -> None:
        """Tell both a story; AssertionError says where their answers part."""


class LongRun:
    """Tells two sides stories, and goes on behind those whose answers part."""

    def __init__(self, sides: _Sides) -> None:
        self._sides = sides
        self._partings: list[str] = []

    def tell(self, story: Story) -> None:
        """Tell both a story; AssertionError if too many have parted."""
        try:
            self._sides.tell(story)
        except AssertionError as parted:
            self._partings.append(str(parted))
        if len(self._partings) >= PARTINGS_MAX:
            raise AssertionError("\n".join(self._partings))

    def end(self, part: str, calls: int) -> None:
        """See that none parted, and that it was as much as is said; keep the figures."""
        sides = self._sides
        assert not self._partings, "\n".join(self._partings)
        assert sides.calls >= calls
        differences = dict(sides.explained)
        figures = {"stories": sides.stories, "calls": sides.calls, "differences": differences}
        note("differential", part, figures)
