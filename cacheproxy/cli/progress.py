"""Progress on standard error: a bar that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import shutil
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from cacheproxy.admin.results import Progress
from cacheproxy.cli import figures

WINDOW_SECONDS = 5.0  # the rate is that of the last so many
LINE_SECONDS = 10.0  # between two lines, where it is no terminal
DRAW_SECONDS = 0.1  # between two looks of a bar
_PHASES = {"look": "looking", "fetch": "", "prove": "proving", "hash": ""}


class ProgressView:
    """Shows the progress of one thing after the other; `end` it before anything else is printed."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._moves = out.isatty()
        self._subject: tuple[str, str] | None = None
        self._seen: deque[tuple[float, int]] = deque()  # when, and how many bytes by then
        self._shown = ""
        self._line_at = 0.0
        self._drawn_at = -math.inf

    def show(self, progress: Progress) -> None:
        """Show how far it is."""
        now = self._clock()
        if (progress.image, progress.phase) != self._subject:
            self.end()
            self._subject = (progress.image, progress.phase)
            self._seen.clear()
            self._drawn_at = -math.inf
            self._line_at = now + LINE_SECONDS
        self._seen.append((now, progress.done_bytes))
        while len(self._seen) > 2 and self._seen[1][0] < now - WINDOW_SECONDS:
            self._seen.popleft()
        if self._moves:
            if now < self._drawn_at + DRAW_SECONDS and progress.done_bytes < progress.total_bytes:
                return
            self._drawn_at = now
            self._redraw(
                self._line(progress, figures.bar(progress.done_bytes, progress.total_bytes))
            )
        elif now >= self._line_at:
            self._line_at = now + LINE_SECONDS
            self._out.write(self._line(progress, "") + "\n")
            self._out.flush()

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._shown:
            self._redraw("")
            self._out.write("\r")
            self._out.flush()

    def _line(self, progress: Progress, bar: str) -> str:
        done, total = progress.done_bytes, progress.total_bytes
        rate = self._rate()
        parts = [
            progress.image or "all chunks",
            bar,
            figures.share(done, total),
            f"{figures.size(done)} of {figures.size(total)}",
            _PHASES[progress.phase],
        ]
        if rate and done < total:
            left = figures.duration((total - done) / rate)
            parts.append(f"{figures.size(rate)}/s, {left} left")
        return "  ".join(filter(None, parts))

    def _rate(self) -> float:
        """Return bytes a second, 0 while that cannot be told."""
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - since) if now > since else 0.0

    def _redraw(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        line = line[:width]
        self._out.write("\r" + line.ljust(min(width, len(self._shown))))
        self._out.flush()
        self._shown = line
