"""Cells shared by a test and the processes that it steers: what happens at which step.

A step is a named function of the program, `module:qualified.name`, and a moment: before its call or
after its return.  Each process counts the steps that it passes; at the one that is armed, the n-th
time, it does what it was told.  Only the standard library: the program imports this as it starts.
"""

from __future__ import annotations

import enum
import mmap
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

CELL_BYTES = 8
ARMED, LEFT, ACTION, TARGET, FIRED, FIRST_COUNT = range(6)


class Moment(enum.IntEnum):
    """When a step is met."""

    BEFORE = 0
    AFTER = 1


class Action(enum.IntEnum):
    """What is done at the armed step."""

    KILL = 0  # SIGKILL to the process that meets it, or to `target`
    KILL_ALL = 1  # SIGKILL to all processes of the program
    STOP = 2  # SIGSTOP to the process that meets it, or to `target`


class Steering:
    """A file `cells`, mapped by everybody, beside the file `steps` with one name a line."""

    def __init__(self, directory: Path) -> None:
        self.steps = (directory / "steps").read_text().split()
        with (directory / "cells").open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._cells = memoryview(self._memory).cast("Q")
        self._lock = threading.Lock()

    @classmethod
    def create(cls, directory: Path, steps: Sequence[str]) -> Steering:
        """Make the files for these steps, in a directory that is made as well."""
        directory.mkdir()
        (directory / "steps").write_text("\n".join(steps))
        (directory / "cells").write_bytes(bytes((FIRST_COUNT + 2 * len(steps)) * CELL_BYTES))
        return cls(directory)

    def close(self) -> None:
        """Let go of the cells."""
        self._cells.release()
        self._memory.close()

    # --- the test's side --------------------------------------------------------------------------

    def arm(self, step: str, moment: Moment, nth: int, action: Action, target: int = 0) -> None:
        """Have the n-th process that meets the step from now on act; undone by acting."""
        self._cells[ARMED] = 0
        self._cells[LEFT], self._cells[ACTION], self._cells[TARGET] = nth, action, target
        self._cells[FIRED] = 0
        self._cells[ARMED] = self._cell(self.steps.index(step), moment)

    def disarm(self) -> None:
        """Have nobody act."""
        self._cells[ARMED] = 0

    @property
    def fired(self) -> int:
        """The process that acted since the last `arm`; 0: none."""
        return self._cells[FIRED]

    def count(self, step: str, moment: Moment) -> int:
        """Return how often a step was met (a few may be missed where two threads meet it at once)."""
        return self._cells[self._cell(self.steps.index(step), moment)]

    # --- the program's side -----------------------------------------------------------------------

    def meet(self, number: int, moment: Moment) -> None:
        """Count a step, and act if it is the armed one."""
        cell = self._cell(number, moment)
        self._cells[cell] += 1
        if self._cells[ARMED] != cell:
            return
        with self._lock:
            if self._cells[ARMED] != cell:
                return
            self._cells[LEFT] -= 1
            if self._cells[LEFT]:
                return
            self._cells[ARMED] = 0
            self._cells[FIRED] = os.getpid()
            self._act()

    def _act(self) -> None:
        target = self._cells[TARGET] or os.getpid()
        match Action(self._cells[ACTION]):
            case Action.KILL:
                os.kill(target, signal.SIGKILL)
            case Action.STOP:
                os.kill(target, signal.SIGSTOP)
            case Action.KILL_ALL:
                os.killpg(os.getpgrp(), signal.SIGKILL)

    def _cell(self, number: int, moment: Moment) -> int:
        return FIRST_COUNT + 2 * number + moment
