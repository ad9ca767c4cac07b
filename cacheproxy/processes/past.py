"""What one keeper has to know of those before it.  The supervisor remembers."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

CRASH_SECONDS = 600.0  # two crashes within so long: the index is to blame
_CRASHES = (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGABRT)


@dataclass(frozen=True, slots=True)
class Past:
    """Told to a keeper at its start; `died` and `serves` give what the next one is told.

    An index that is cut short ends the keeper with SIGBUS, which the next one sees by itself.  One
    that is garbled may end each keeper that comes upon the place: after two crashes it is set aside.
    """

    first: bool = True  # a wrong configuration or directory ends the program
    rebuild: bool = False  # the index is damaged: set it aside
    device: int | None = None  # the one that had the cache directory when the program started
    crashed_at: float | None = None

    @classmethod
    def before_any(cls, directory: Path) -> Past:
        """Begin a program with this cache directory."""
        try:
            return cls(device=directory.stat().st_dev)
        except OSError:
            return cls()  # then no device is the wrong one

    def died(self, status: int, now: float) -> Past:
        """The keeper has ended with this wait status."""
        code, past = os.waitstatus_to_exitcode(status), replace(self, first=False)
        if code == os.EX_DATAERR:
            return replace(past, rebuild=True)
        if code not in _CRASHES:
            return past
        again = self.crashed_at is not None and now - self.crashed_at < CRASH_SECONDS
        return replace(past, rebuild=self.rebuild or again, crashed_at=now)

    def serves(self) -> Past:
        """The keeper has opened the cache."""
        return replace(self, rebuild=False)
