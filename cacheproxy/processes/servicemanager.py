"""What the service manager (systemd) is told of a node, and when.

It is told changes of phase and status once, and again if it could not hear; and as long as the node
does what it is there for, that it lives: see `Standing.alive`.  Without a manager nothing is sent.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Literal

from backends.notify import Notify

Phase = Literal["starting", "serving", "reloading", "stopping"]

RETRY_SECONDS = 1.0  # after a message that the manager had no room for
EXTENSION_SECONDS = 15.0  # how much longer a stop may take, each time we say that it goes on
EXTEND_EVERY_SECONDS = 5.0
PINGS_PER_LIMIT = 3  # one may be late without harm

_PHASES: Mapping[Phase, str] = {
    "starting": "STATUS=",  # never said: it is what the manager believes at first
    "serving": "READY=1",
    "reloading": "RELOADING=1",
    "stopping": "STOPPING=1",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How the node is."""

    phase: Phase
    status: str  # one line for `systemctl status`
    alive: bool  # whether a restart of everything could only make it worse


class ServiceManager:
    """Tells it; times are those of time.monotonic()."""

    def __init__(self, notify: Notify, watchdog_seconds: float = math.inf) -> None:
        """Tell `notify`; a manager with a watchdog restarts us after so long without a ping."""
        self._notify = notify
        self._ping_every = watchdog_seconds / PINGS_PER_LIMIT
        self._told = Standing("starting", "", alive=True)
        watched = bool(notify.address) and watchdog_seconds < math.inf
        self._ping_at = -math.inf if watched else math.inf
        self._extend_at = math.inf
        self._retry_at: float | None = None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Take what the manager left for this process out of the environment."""
        notify = Notify.from_environment(environ)
        limit, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = pid in ("", str(os.getpid()))
        watched = ours and limit.isascii() and limit.isdigit() and int(limit) > 0
        return cls(notify, int(limit) / 1e6 if watched else math.inf)

    @property
    def due(self) -> float:
        """When to tell again, though nothing changes."""
        if self._retry_at is not None:
            return self._retry_at
        return min(self._extend_at, self._ping_at if self._told.alive else math.inf)

    def tell(self, standing: Standing, now: float) -> None:
        """Say what has changed, and what is due."""
        if self._retry_at is not None and now < self._retry_at:
            return
        lines: list[str] = []
        if standing.phase != self._told.phase:
            lines.append(_PHASES[standing.phase])
            if standing.phase == "reloading":
                lines.append(f"MONOTONIC_USEC={int(now * 1e6)}")
            elif standing.phase == "stopping":
                self._extend_at = now
        if standing.status != self._told.status:
            lines.append(f"STATUS={standing.status}")
        ping, extend = standing.alive and now >= self._ping_at, now >= self._extend_at
        if ping:
            lines.append("WATCHDOG=1")
        if extend:
            lines.append(f"EXTEND_TIMEOUT_USEC={int(EXTENSION_SECONDS * 1e6)}")
        if lines and not self._notify.send(*lines):
            self._retry_at = now + RETRY_SECONDS
            return
        self._told, self._retry_at = standing, None
        if ping:
            self._ping_at = now + self._ping_every
        if extend:
            self._extend_at = now + EXTEND_EVERY_SECONDS
