"""What the store knows of its disk: hears of every failure, keeps the state, tells who asked.

All of it happens on the loop; `core/health.py` has the rules.  A store that cannot go on as it is,
because its directory is another one by now, its index is damaged, or the disk has to be let go of,
is `lost`: whoever runs it ends, and starts anew.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import logging
from collections.abc import Callable

from cacheproxy.core.health import Fault, Health, State
from cacheproxy.errors import (
    CacheRefusedError,
    ChunkLostError,
    DiskFullError,
    ReadOnlyDiskError,
    StorageError,
)
from cacheproxy.meter import Meter
from cacheproxy.metrics import DISK_PROBE_FAILURES, DISK_STATE, DISK_TRANSITIONS
from cacheproxy.store.files import storage_error
from cacheproxy.store.layout import IndexDamagedError, IndexLostError

log = logging.getLogger(__name__)

_NOT_THE_DISKS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
_MEANING = {
    State.NORMAL: "the cache is used as ever",
    State.DEGRADED: "what is cached is served, nothing new is stored",
    State.BYPASS: "the cache is not used, everything comes from the upstream",
}


class Loss(enum.Enum):
    """Why a store cannot go on as it is."""

    REOPEN = "the cache has to be opened anew"
    REBUILD = "the index is damaged and has to be made again"


def show_state(meter: Meter, state: State | None) -> None:
    """Have the metrics show this state; None: there is no open store."""
    for each in State:
        meter.set(DISK_STATE, each is state, each.value)


def fault_of(error: BaseException) -> Fault | None:
    """Tell what an error says of the disk; None: nothing."""
    if isinstance(error, ChunkLostError) or not isinstance(error, StorageError):
        return None
    if isinstance(error, DiskFullError):
        return Fault.FULL
    if isinstance(error, ReadOnlyDiskError):
        return Fault.READ_ONLY
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _NOT_THE_DISKS:
        return None
    return Fault.ERROR


class Disk:
    """The state of one cache directory's disk."""

    def __init__(self, meter: Meter) -> None:
        self._loop = asyncio.get_running_loop()
        self._meter = meter
        self._health = Health(self._loop.time())
        self._listeners: list[Callable[[], None]] = []
        self.lost: asyncio.Future[Loss] = self._loop.create_future()
        show_state(meter, self.state)

    def __repr__(self) -> str:
        return f"<Disk {self._health!r}>"

    # --- what may be done -------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state now."""
        return self._health.state

    @property
    def trouble(self) -> str | None:
        """What is wrong with it; None: nothing."""
        return None if self._health.fault is None else self._health.fault.value

    @property
    def usable(self) -> bool:
        """Whether requests may touch the disk."""
        return self.state is not State.BYPASS

    @property
    def writable(self) -> bool:
        """Whether anything new is stored."""
        return self.state is State.NORMAL

    @property
    def removable(self) -> bool:
        """Whether it is worth trying to remove something."""
        return self.usable and self._health.fault is not Fault.READ_ONLY

    def check_usable(self) -> None:
        """Raise `StorageError` unless `usable`."""
        if not self.usable:
            raise StorageError("the cache's disk is not used at present")

    def check_writable(self) -> None:
        """Raise `CacheRefusedError` unless `writable`."""
        if not self.writable:
            raise CacheRefusedError("the cache's disk takes nothing new at present")

    def listen(self, changed: Callable[[], None]) -> None:
        """Have this called after each change of the state."""
        self._listeners.append(changed)

    # --- what happened ----------------------------------------------------------------------------

    def heard(self, error: BaseException) -> None:
        """Something has failed."""
        if isinstance(error, IndexDamagedError):
            self.lose(Loss.REBUILD, str(error))
        elif isinstance(error, IndexLostError):
            self.lose(Loss.REOPEN, str(error))
        elif (fault := fault_of(error)) is not None:
            self.failed(fault, str(error))

    def heard_elsewhere(self, error: BaseException) -> None:
        """Something has failed in a thread."""
        self._loop.call_soon_threadsafe(self.heard, error)

    def unreadable(self, error: OSError) -> None:
        """A chunk could not be read, in a thread; the chunk itself is taken for damaged."""
        translated = storage_error(error, "reading a chunk")
        translated.__cause__ = error
        self.heard_elsewhere(translated)

    def failed(self, fault: Fault, detail: str = "") -> None:
        """Something that was no probe failed so."""
        if self._health.failed(fault, self._loop.time()):
            self._changed(detail)

    def probed(self, fault: Fault | None) -> None:
        """A probe has ended; None: it was good."""
        if fault is not None:
            self._meter.inc(DISK_PROBE_FAILURES)
        if self._health.probed(fault, self._loop.time()):
            self._changed("")

    def lose(self, loss: Loss, detail: str) -> None:
        """The store cannot go on as it is."""
        if not self.lost.done():
            log.error("%s: %s", loss.value, detail)
            self.lost.set_result(loss)

    def _changed(self, detail: str) -> None:
        state, fault = self.state, self._health.fault
        self._meter.inc(DISK_TRANSITIONS, 1, state.value)
        show_state(self._meter, state)
        why = f" ({fault.value}{': ' if detail else ''}{detail})" if fault is not None else ""
        log.warning("the cache's disk is %s%s: %s", state.value, why, _MEANING[state])
        for changed in self._listeners:
            changed()
