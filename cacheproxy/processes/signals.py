"""The supervisor's signals: they wake its selector, and are acted upon between its turns."""

from __future__ import annotations

import contextlib
import signal
import socket
from types import FrameType


class Signals:
    """From its making to its end: counts what is asked for, and wakes.

    SIGTERM and SIGINT ask for a stop, SIGHUP to read the configuration again; SIGCHLD only wakes.
    """

    def __init__(self) -> None:
        self.sock, self._far = socket.socketpair()  # `sock` is readable after a signal
        self._stops = self._reloads = 0
        self._taken = (0, 0)
        for end in (self.sock, self._far):
            end.setblocking(False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        signal.signal(signal.SIGCHLD, self._wake)
        signal.set_wakeup_fd(self._far.fileno(), warn_on_full_buffer=False)

    def take(self) -> tuple[bool, bool]:
        """Whether a stop, and whether a reading, was asked for since the last call."""
        stops, reloads = self._stops, self._reloads
        before, self._taken = self._taken, (stops, reloads)
        return stops > before[0], reloads > before[1]

    def clear(self) -> None:
        """Make `sock` wait for the next signal."""
        with contextlib.suppress(BlockingIOError):
            self.sock.recv(4096)

    def end(self) -> None:
        """Ignore them from now on: everything is stopped, only the exit code is still to be given."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        self.close()

    def close(self) -> None:
        """Close the descriptors."""
        self.sock.close()
        self._far.close()

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stops += 1

    def _reload(self, _signal: int, _frame: FrameType | None) -> None:
        self._reloads += 1

    def _wake(self, _signal: int, _frame: FrameType | None) -> None:
        """Be there: a signal without a handler in Python wakes nobody."""
