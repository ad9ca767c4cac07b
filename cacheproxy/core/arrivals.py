"""Which chunks have arrived, and when, for images of any length in little memory.  Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import chain

_PAGE = 1024


class Arrived:
    """A set of indexes from `start` on that come nearly in order: a run from there costs nothing."""

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self.complete_to = start  # all below are there
        self._ahead: set[int] = set()

    def __repr__(self) -> str:
        return f"<Arrived {self._start}..{self.complete_to} and {len(self._ahead)} ahead>"

    def __len__(self) -> int:
        return self.complete_to - self._start + len(self._ahead)

    def __iter__(self) -> Iterator[int]:
        return chain(range(self._start, self.complete_to), self._ahead)

    def __contains__(self, index: int) -> bool:
        return self._start <= index < self.complete_to or index in self._ahead

    def add(self, index: int) -> None:
        """It is there; one that was, may be told again."""
        if index < self.complete_to:
            return
        self._ahead.add(index)
        while self.complete_to in self._ahead:
            self._ahead.remove(self.complete_to)
            self.complete_to += 1


class Ticks:
    """The latest tick of each index, in pages that are made as they are needed."""

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}

    def __repr__(self) -> str:
        return f"<Ticks in {len(self._pages)} pages>"

    def note(self, index: int, tick: int) -> None:
        """Something became of it at this tick (a positive number)."""
        number, place = divmod(index, _PAGE)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = array("Q", bytes(8 * _PAGE))
        page[place] = tick

    def after(self, index: int, tick: int) -> bool:
        """Whether something became of it after this tick."""
        number, place = divmod(index, _PAGE)
        page = self._pages.get(number)
        return page is not None and page[place] > tick
