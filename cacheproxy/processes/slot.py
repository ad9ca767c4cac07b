"""The place of one child process, as the supervisor sees it: empty, starting, serving or dying.

    empty --started()--> starting --Ready--> serving --died()--> empty, to be started again

The slot, its counters and its row of the metrics' board stay; processes come and go.
"""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from collections.abc import Iterator

import msgspec

from cacheproxy.processes.orders import HEARTBEAT_SECONDS, AnyReport, Order, decode_report, encode
from cacheproxy.processes.packets import (
    BrokenChannelError,
    close_all,
    receive_packet,
    send_packet,
)

BACK_OFF_SECONDS_MIN = 0.1
BACK_OFF_SECONDS_MAX = 5.0
SETTLED_SECONDS = 30.0  # a child that lived so long is restarted as if it had never failed
START_SECONDS = 30.0  # until the first sign of life: it imports first, on a busy machine
LATE_SECONDS = 3 * HEARTBEAT_SECONDS  # without a sign of life: others are preferred
ORDERS_QUEUED_MAX = 1024  # for a child that does not read
_REPORTS_AT_ONCE = 256


class Slot:
    """One child's place.  Times are those of time.monotonic()."""

    def __init__(self, name: str, row: int) -> None:
        self.name = name
        self.row = row
        self.pid: int | None = None
        self.control: socket.socket | None = None  # None also when the child has closed its end
        self.ready = False
        self.start_at: float | None = 0.0  # when to start it; None while it runs
        self.given = 0  # connections handed to this process
        self.closed = 0  # of these, how many it says have ended
        self.link = 0  # the number of its last link to the keeper (a worker's)
        self.linked_at = 0.0
        self.link_wanted = False
        self._started_at = 0.0
        self._heard_at: float | None = None
        self._back_off = 0.0
        self._killed_for = ""
        self._queue: deque[tuple[bytes, socket.socket | None]] = deque()

    def __repr__(self) -> str:
        return f"<{self.name} pid={self.pid} ready={self.ready} open={self.open}>"

    @property
    def open(self) -> int:
        """How many connections it has."""
        return self.given - self.closed

    @property
    def backlogged(self) -> bool:
        """Whether orders wait because it does not read."""
        return bool(self._queue)

    def late(self, now: float) -> bool:
        """Whether it has been silent for longer than it should be."""
        return now - (self._heard_at or self._started_at) > LATE_SECONDS

    def hangs_at(self, hang_seconds: float) -> float | None:
        """When it must be taken for dead, unless it is heard before; None if it does not run."""
        if self.pid is None or self._killed_for:
            return None
        if self._heard_at is None:
            return self._started_at + max(hang_seconds, START_SECONDS)
        return self._heard_at + hang_seconds

    def started(self, pid: int, control: socket.socket, now: float) -> None:
        """Note the new process."""
        self.pid, self.control, self.start_at = pid, control, None
        self._started_at, self._heard_at = now, None

    def kill(self, reason: str) -> None:
        """End the process at once."""
        if self.pid is not None and not self._killed_for:
            self._killed_for, self.ready = reason, False
            os.kill(self.pid, signal.SIGKILL)

    def died(self, status: int, now: float) -> str:
        """Empty the slot and say why the process (of this wait status) ended."""
        self.drop_control()
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        reason = f"{how} ({self._killed_for})" if self._killed_for else how
        settled = now - self._started_at >= SETTLED_SECONDS
        self._back_off = (
            BACK_OFF_SECONDS_MIN
            if settled or not self._back_off
            else min(2 * self._back_off, BACK_OFF_SECONDS_MAX)
        )
        self.start_at = now + self._back_off
        self.pid, self.ready, self.given, self.closed = None, False, 0, 0
        self.link_wanted, self._killed_for = False, ""
        return reason

    def drop_control(self) -> None:
        """Close our end, and what waits to be said with it."""
        if self.control is not None:
            self.control.close()
            self.control = None
        self.ready = False
        while self._queue:
            _, sock = self._queue.popleft()
            if sock is not None:
                sock.close()

    def send(self, order: Order, sock: socket.socket | None = None) -> bool:
        """Give an order, with a socket that is then the child's alone.

        False: the child cannot be reached, and the socket is still the caller's.
        """
        if self.control is None:
            return False
        data = encode(order)
        if not self._queue:
            try:
                self._send(data, sock)
            except BlockingIOError:
                pass  # it is queued below
            except OSError:
                return False
            else:
                return True
        if len(self._queue) >= ORDERS_QUEUED_MAX:
            self.kill("it left its orders unread")
            return False
        self._queue.append((data, sock))
        return True

    def flush(self) -> None:
        """Send what waits, as far as the child reads."""
        while self._queue:
            data, sock = self._queue[0]
            try:
                self._send(data, sock)
            except BlockingIOError:
                return
            except OSError:
                self.drop_control()
                return
            self._queue.popleft()

    def reports(self, now: float) -> Iterator[AnyReport]:
        """Give what the child says; at its end of file the control is gone."""
        for _ in range(_REPORTS_AT_ONCE):
            if self.control is None:
                return
            try:
                data, fds = receive_packet(self.control)
                close_all(fds)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # told once, if it died with orders unread; what it said comes next
            except (BrokenChannelError, OSError):
                data = b""
            try:
                report = decode_report(data) if data else None
            except msgspec.DecodeError:
                report = None
            if report is None:
                self.drop_control()
                return
            self._heard_at = now
            yield report

    def _send(self, data: bytes, sock: socket.socket | None) -> None:
        assert self.control is not None
        send_packet(self.control, data, [] if sock is None else [sock.fileno()])
        if sock is not None:
            sock.close()
