"""Whether one upstream is used: a circuit breaker of three states.  Pure.

    closed   it is used
    open     it is not used; a cheap question is asked now and then, one at a time
    trial    it is used again since it answered that question; nothing else is known yet

    in               what happened                                          leads to
    closed           FAILURES_MAX failures without an answer in between     open, the question at once
    closed           it was silent once                                     open, the question at once
    trial            one failure, of either kind                            open, the question after a pause
    open             the question was answered                              trial
    any              a request was answered                                 closed

All else leads nowhere. A failure is that no connection came about; where one was lost before the
head of an answer, the request may be to blame (a server hangs up on a head that is too long), so
the question is asked first, and only its silence counts: nobody cuts off the others by what he
sends. So it is where all our connections are in use, and a request waited for its turn in vain.
What counts is whether the head of an answer comes, whatever its status: a refusal proves life as
well as an image does, and a body that is cut proves less than the next request will. What began
before the last sign of life says nothing about now: one slow image among others that are answered
is no failure. Silence takes a request's whole patience, so it is not waited for twice: the question
tells within one round trip a slow image from a dead upstream.

The pause before the question doubles from PAUSE_SECONDS to PAUSE_SECONDS_MAX until a *request* is
answered, so that an upstream that answers nothing but the question is tried ever less often.  Who
has nobody else to ask may hasten it to PAUSE_SECONDS after the last one.

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import enum
import math

FAILURES_MAX = 3
PAUSE_SECONDS = 1.0
PAUSE_SECONDS_MAX = 5.0


class State(enum.Enum):
    """How far an upstream is trusted."""

    CLOSED = "closed"
    OPEN = "open"
    TRIAL = "trial"


class Circuit:
    """What is believed of one upstream; `ask_at`: when the question is due, while it is open."""

    def __init__(self) -> None:
        self.state = State.CLOSED
        self.ask_at = math.inf
        self._heard_at = -math.inf
        self._asked_at = -math.inf  # when the last question ended
        self._failures = 0  # since it was heard
        self._pause = PAUSE_SECONDS

    def __repr__(self) -> str:
        return f"<Circuit {self.state.value}, {self._failures} failures>"

    @property
    def usable(self) -> bool:
        """Whether requests go there."""
        return self.state is not State.OPEN

    def answered(self, now: float) -> None:
        """The head of an answer to a request has come."""
        self._become(State.CLOSED, now)
        self._pause = PAUSE_SECONDS

    def failed(self, began: float, now: float, *, silent: bool = False) -> None:
        """A request that was begun then had no answer; `silent`: its time was up."""
        if self.state is State.OPEN or began < self._heard_at:
            return
        self._failures += 1
        if self.state is State.TRIAL:
            self._open(now + self._next_pause())
        elif silent or self._failures >= FAILURES_MAX:
            self._open(now)

    def asked(self, now: float, *, well: bool) -> None:
        """The question has ended: with an answer, or without."""
        self._asked_at = now
        if self.state is not State.OPEN:
            return  # a request was faster
        if well:
            self._become(State.TRIAL, now)
        else:
            self.ask_at = now + self._next_pause()

    def hasten(self, now: float) -> None:
        """Somebody has nobody else to ask: the question is due as early as may be."""
        if self.state is State.OPEN:
            self.ask_at = min(self.ask_at, max(now, self._asked_at + PAUSE_SECONDS))

    def _become(self, state: State, now: float) -> None:
        self.state, self._heard_at, self._failures = state, now, 0
        self.ask_at = math.inf

    def _open(self, ask_at: float) -> None:
        self.state, self.ask_at = State.OPEN, ask_at

    def _next_pause(self) -> float:
        pause = self._pause
        self._pause = min(2 * pause, PAUSE_SECONDS_MAX)
        return pause
