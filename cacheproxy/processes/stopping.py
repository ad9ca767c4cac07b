"""A stop in progress: the workers finish and end, then the keeper; who takes too long is killed."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from cacheproxy.processes.orders import Drain
from cacheproxy.processes.slot import Slot

DRAIN_GRACE_SECONDS = 2.0  # for the workers to break off by themselves what is over its time
KEEPER_STOP_SECONDS = 10.0  # the keeper's share of a stop, once the workers are gone
KILL_SECONDS = 10.0  # a child that lives on after SIGKILL waits for a disk, perhaps for ever
SAME_STOP_SECONDS = 1.0  # Ctrl-C reaches whoever started us as well, and he may pass it on

log = logging.getLogger(__name__)


class Stop:
    """From its making, which tells the workers to drain, until `over`."""

    def __init__(
        self,
        code: int,
        workers: Sequence[Slot],
        keeper: Slot | None,
        drain_seconds: float,
        now: float,
    ) -> None:
        """Begin; `code` is the exit code that the program will have."""
        self.code = code
        self._workers = workers
        self._keeper = keeper
        self._began_at = now
        self._kill_at = now + drain_seconds + DRAIN_GRACE_SECONDS
        self._leave_at = math.inf
        self._hurried = False
        self._keeper_draining = False
        for worker in workers:
            worker.send(Drain())

    @property
    def due(self) -> float:
        """When to go on, though no child ends."""
        return min(self._kill_at, self._leave_at)

    def hurry(self, now: float) -> None:
        """It was asked for again: break off what is in progress."""
        if not self._hurried and now >= self._began_at + SAME_STOP_SECONDS:
            log.info("asked again: stopping at once")
            self._hurried, self._kill_at = True, now

    def go_on(self, now: float) -> None:
        """Do what is due."""
        if not self._keeper_draining and not any(worker.pid for worker in self._workers):
            self._keeper_draining = True
            self._kill_at = now if self._hurried else now + KEEPER_STOP_SECONDS
            if self._keeper is not None:
                self._keeper.send(Drain())
        if now >= self._kill_at:
            self._kill_at = math.inf
            for slot in self._running():
                if slot is not self._keeper or self._keeper_draining:
                    self._leave_at = now + KILL_SECONDS
                    slot.kill("its time to finish was over")

    def over(self, now: float) -> bool:
        """Whether every child has ended, or cannot be ended."""
        running = self._running()
        if running and now < self._leave_at:
            return False
        for slot in running:
            log.error("%s (process %d) cannot be killed; it is left", slot.name, slot.pid)
        return True

    def _running(self) -> list[Slot]:
        slots = (*self._workers, *((self._keeper,) if self._keeper else ()))
        return [slot for slot in slots if slot.pid is not None]
