"""Which parts of an image are there: in ranges, and as a picture of a fixed width.  Pure."""

from __future__ import annotations

from itertools import pairwise

from cacheproxy.core.geometry import Grid

CELLS_MAX = 64  # parts of the picture
RANGES_MAX = 1024  # told of one image; more are counted only


class ChunkMap:
    """Takes the chunks of an image in order, and keeps a bounded summary of them."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._cells = min(grid.count, CELLS_MAX)
        self._present_in_cell = [0] * self._cells
        self._taken = 0
        self._open = False  # whether the last chunk was there
        self.present = 0  # chunks
        self.present_bytes = 0
        self.ranges: list[tuple[int, int]] = []  # first byte, one past the last
        self.range_count = 0

    def take(self, there: bool) -> None:
        """Note whether the next chunk is there."""
        index, self._taken = self._taken, self._taken + 1
        if there:
            span = self._grid.chunk(index)
            self.present += 1
            self.present_bytes += len(span)
            self._present_in_cell[index * self._cells // self._grid.count] += 1
            self._extend(span.start, span.stop)
        self._open = there

    def _extend(self, start: int, stop: int) -> None:
        if not self._open:
            self.range_count += 1
            if len(self.ranges) < RANGES_MAX:
                self.ranges.append((start, stop))
        elif self.range_count == len(self.ranges):
            self.ranges[-1] = (self.ranges[-1][0], stop)

    @property
    def cells(self) -> list[float]:
        """Return the share of each part of the image that is there."""
        count, cells = self._grid.count, self._cells
        # Chunk i belongs to cell i·cells//count: cell c begins with the first i that gives c.
        starts = [-(-cell * count // cells) for cell in range(cells)]
        parts = zip(self._present_in_cell, pairwise([*starts, count]), strict=True)
        return [present / (stop - start) for present, (start, stop) in parts]
