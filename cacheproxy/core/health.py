"""The health of the cache's disk: three states, and what leads from one to another.  Pure.

    normal     hits are served, what is missing is fetched and stored
    degraded   hits are served; nothing new is stored, what is missing is streamed through
    bypass     no request touches the disk: everything is streamed through

    in                 what happened                                                      leads to
    normal             a write or the index was refused: no space, read-only              degraded
    normal, degraded   ERRORS_MAX errors within ERRORS_SECONDS                            bypass
    normal, degraded   something hangs, or the directory is gone                          bypass
    bypass             PROBES probes in a row were read back or refused, and it is time   degraded
    degraded, bypass   PROBES good probes in a row, and it is time                        normal

All else leads nowhere.  Worse is believed at once.  Better is believed when it is *time*: `hold`
seconds after the last change.  A disk that falls ill again within `RELAPSE_SECONDS` of having got
better is held twice as long as the last time, `HOLD_SECONDS_MAX` at most; one that kept well for
longer begins anew with `HOLD_SECONDS`.  So it gets better once in HOLD_SECONDS at most and, in the
long run, about once in RELAPSE_SECONDS; and PROBES good probes later than HOLD_SECONDS_MAX after
the last change always lead to normal.

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import enum
from collections import deque

ERRORS_MAX = 3
ERRORS_SECONDS = 30.0
PROBES = 2
HOLD_SECONDS = 2.0
HOLD_SECONDS_MAX = 60.0
RELAPSE_SECONDS = 60.0


class State(enum.Enum):
    """How far the disk may be used."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    BYPASS = "bypass"


class Fault(enum.Enum):
    """What is wrong with a disk."""

    FULL = "no space, no inodes or no quota left"
    READ_ONLY = "it is read-only"
    ERROR = "input/output errors"
    HUNG = "it does not answer"
    GONE = "the cache directory is gone"


_REFUSALS = (Fault.FULL, Fault.READ_ONLY)  # the disk works, but takes nothing
_AT_ONCE = (Fault.HUNG, Fault.GONE)
_BETTER = {State.BYPASS: 0, State.DEGRADED: 1, State.NORMAL: 2}


class Health:
    """The state, and why: `fault` is what led away from normal last; None while normal."""

    def __init__(self, now: float) -> None:
        self.state = State.NORMAL
        self.fault: Fault | None = None
        self.since = now
        self._hold = HOLD_SECONDS
        self._better_at: float | None = None  # when it got better last
        self._errors: deque[float] = deque(maxlen=ERRORS_MAX)
        self._answered = 0  # probes in a row that were good or refused
        self._good = 0  # probes in a row that were good

    def __repr__(self) -> str:
        why = f": {self.fault.value}" if self.fault else ""
        return f"<Health {self.state.value}{why}>"

    def failed(self, fault: Fault, now: float) -> bool:
        """Something failed that was not a probe; True if that changed the state."""
        self._good = 0
        if fault in _REFUSALS:
            return self.state is State.NORMAL and self._become(State.DEGRADED, fault, now)
        self._answered = 0
        if fault is Fault.ERROR:
            self._errors.append(now)
            if len(self._errors) < ERRORS_MAX or now - self._errors[0] > ERRORS_SECONDS:
                return False
        return self.state is not State.BYPASS and self._become(State.BYPASS, fault, now)

    def probed(self, fault: Fault | None, now: float) -> bool:
        """A probe has ended, None: it was good; True if that changed the state."""
        if fault is not None and (self.state is State.NORMAL or fault not in _REFUSALS):
            return self.failed(fault, now)
        self._answered += 1
        self._good = 0 if fault else self._good + 1
        if now - self.since < self._hold:
            return False
        if self._good >= PROBES and self.state is not State.NORMAL:
            return self._become(State.NORMAL, None, now)
        if self._answered >= PROBES and fault and self.state is State.BYPASS:
            return self._become(State.DEGRADED, fault, now)
        return False

    def _become(self, state: State, fault: Fault | None, now: float) -> bool:
        if _BETTER[state] > _BETTER[self.state]:
            self._better_at = now
            self._errors.clear()
        elif self._better_at is not None and now - self._better_at <= RELAPSE_SECONDS:
            self._hold = min(2 * self._hold, HOLD_SECONDS_MAX)
        elif self.state is State.NORMAL:
            self._hold = HOLD_SECONDS
        self.state, self.fault, self.since = state, fault, now
        self._answered = self._good = 0
        return True
