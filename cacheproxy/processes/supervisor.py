"""The supervisor: owns the listening sockets, keeps the children alive, hands out connections.

It imports little, runs no loop but its own small one, and opens no file of the cache, so that
nothing that goes wrong with images can take it along.  Each accepted connection goes to the serving
worker with the fewest; while there is none, connections wait in the listeners' backlog.

A child is replaced when it dies or shows no sign of life.  The keeper's death touches no worker:
they get new links once its successor serves.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import resource
import socket
import time
from collections.abc import Sequence
from functools import partial

from cacheproxy.config import Settings
from cacheproxy.meter import Board
from cacheproxy.metrics import CHILD_STARTS, DISK_STATE, START_TIME
from cacheproxy.processes.attention import Attention, Source
from cacheproxy.processes.birth import become, fork
from cacheproxy.processes.entries import Entries
from cacheproxy.processes.listeners import Listener
from cacheproxy.processes.orders import (
    AnyReport,
    Certify,
    Connection,
    ConnectionClosed,
    KeeperLink,
    LetGo,
    LinkLost,
    Order,
    Purge,
    Purged,
    Ready,
    Reloaded,
    Tell,
    Told,
    Waiting,
    WorkerLink,
)
from cacheproxy.processes.packets import socket_pair
from cacheproxy.processes.past import Past
from cacheproxy.processes.rereading import Rereading
from cacheproxy.processes.servicemanager import Phase, ServiceManager, Standing
from cacheproxy.processes.signals import Signals
from cacheproxy.processes.slot import Slot
from cacheproxy.processes.stopping import Stop

ACCEPTS_AT_ONCE = 64  # before children are heard again
ACCEPT_PAUSE_SECONDS = 0.5  # after this machine had no descriptor or memory for a connection
KEEPER_WAIT_SECONDS = 10.0  # at the start, the first connections wait so long for the cache
LINK_PAUSE_SECONDS = 1.0  # between two links of one worker, when it loses them
LIFELESS_SECONDS = 60.0  # no worker served for so long: what we do does not help any more
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger(__name__)


class Supervisor:
    """Runs a node's processes until it is told to stop by SIGTERM or SIGINT."""

    def __init__(
        self,
        settings: Settings,
        entries: Entries,
        listeners: Sequence[Listener],
        manager: ServiceManager,
    ) -> None:
        """Take over the listeners; `manager` is told how we are."""
        self._config = Rereading(settings, entries.reread)
        self._entries = entries
        self._listeners = list(listeners)
        self._manager = manager
        self._accept_at = 0.0
        self._keeper = Slot("keeper", row=1) if settings.cache.enabled else None
        self._past = Past.before_any(settings.cache.directory)
        self._workers = [Slot(f"worker {n}", row=n + 2) for n in range(settings.workers)]
        self._board = Board.create(rows=2 + settings.workers)
        self._meter = self._board.meter(0)
        self._attention = Attention()
        self._opened = self._keeper is None  # whether connections need not wait for the cache
        self._open_at = math.inf
        self._began = False  # whether clients were ever served
        self._served_at = math.inf  # when a worker was last known to serve
        self._announced = False
        self._signals: Signals | None = None
        self._stop: Stop | None = None

    @property
    def _slots(self) -> list[Slot]:
        return [*([self._keeper] if self._keeper else []), *self._workers]

    def run(self) -> int:
        """Serve until a stop; the exit code."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._meter.set(START_TIME, time.time())
        signals = self._signals = Signals()
        try:
            self._attention.heed(signals)
            return self._turn(signals)
        finally:
            signals.end()
            self._close_all()

    def _turn(self, signals: Signals) -> int:
        now = time.monotonic()
        self._open_at = now + KEEPER_WAIT_SECONDS
        while True:
            self._reap(now)
            if self._stop is not None and self._stop.over(now):
                return self._stop.code
            self._keep_up(now)
            self._tell(now)
            self._attention.follow(self._slots)
            self._attention.listen(self._listeners if self._accepting(now) else ())
            ready = self._attention.wait(self._next_deadline(now) - now)
            # Taken before the children are heard: if we ourselves stood still, what they said
            # meanwhile counts before they are taken for dead.
            now = time.monotonic()
            self._serve(ready, now)
            self._heed(signals, now)

    # --- events ---

    def _serve(self, ready: Sequence[tuple[Source, bool, bool]], now: float) -> None:
        for what, says, reads in ready:
            match what:
                case Slot() as slot:
                    if says:
                        for report in slot.reports(now):
                            self._hear(slot, report, now)
                    if reads:
                        slot.flush()
                case Listener() as listener:
                    self._accept(listener, now)
                case Signals() as signals:
                    signals.clear()

    def _heed(self, signals: Signals, now: float) -> None:
        asked, reread = signals.take()
        if reread and self._stop is None:
            self._tell(now, "reloading")
            self._config.read(self._keeper)
            if (shown := self._entries.renew()) is not None:
                for worker in self._workers:
                    worker.send(Certify(shown.chain, shown.key, shown.authorities))
        if asked and self._stop is None:
            log.info("stopping")
            self._begin_stop(0, now)
        elif asked and self._stop is not None:
            self._stop.hurry(now)

    def _hear(self, slot: Slot, report: AnyReport, now: float) -> None:
        match report:
            case Ready():
                slot.ready = True
                if slot is self._keeper and self._stop is None:
                    self._opened, self._past = True, self._past.serves()
                    self._config.offer(self._keeper)
                    for worker in self._workers:
                        self._link(worker, now)
            case Waiting():
                self._opened = True
                for worker in self._workers:
                    worker.send(LetGo())
            case ConnectionClosed(total):
                slot.closed = max(slot.closed, total)
            case LinkLost(serial):
                slot.link_wanted = slot.link_wanted or serial == slot.link
            case Reloaded(taken):
                self._config.answered(taken=taken)
            case Purge(image):
                self._relay(slot, Purged(image))
            case Tell(name, headers, until):
                self._relay(slot, Told(name, headers, until))
            case _:
                pass  # a heartbeat: that it came is noted

    def _relay(self, sender: Slot, order: Order) -> None:
        for worker in self._workers:
            if worker is not sender:
                worker.send(order)

    def _accept(self, listener: Listener, now: float) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            candidates = self._serving(now)
            if not candidates:
                return
            try:
                sock, _ = listener.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.warning("no connection can be accepted: %s", error.strerror)
                    self._accept_at = now + ACCEPT_PAUSE_SECONDS
                    return
                continue  # it left before it was accepted
            for worker in candidates:
                if worker.send(Connection(listener.kind), sock):
                    worker.given += 1
                    break
            else:
                sock.close()

    def _accepting(self, now: float) -> bool:
        return self._opened and now >= self._accept_at and bool(self._serving(now))

    def _serving(self, now: float) -> list[Slot]:
        """Return the workers that can take a connection, the best first."""
        share = max(1, self._config.settings.connections_max // len(self._workers))
        able = [w for w in self._workers if w.ready and not w.backlogged and w.open < share]
        return sorted(able, key=lambda worker: (worker.late(now), worker.open, worker.given))

    # --- children ---

    def _keep_up(self, now: float) -> None:
        """Do what is due: starts, links, kills, the steps of a stop."""
        if now >= self._open_at:
            self._opened = True
        for slot in self._slots:
            hangs_at = slot.hangs_at(self._config.settings.hang_seconds)
            if hangs_at is not None and now >= hangs_at:
                slot.kill(f"it gave no sign of life for {self._config.settings.hang_seconds:g} s")
                # Where it waits for a disk it does not even die, but it counts nothing any more.
                self._board.zero_gauges(slot.row)
        away = self._keeper is not None and not self._keeper.ready
        self._meter.set(DISK_STATE, away, "bypass")
        if self._stop is not None:
            self._stop.go_on(now)
            return
        for slot in self._slots:
            if slot.start_at is not None and now >= slot.start_at:
                self._start(slot, now)
        for worker in self._workers:
            if worker.link_wanted and now >= worker.linked_at + LINK_PAUSE_SECONDS:
                self._link(worker, now)
        if any(worker.ready and not worker.late(now) for worker in self._workers):
            self._served_at, self._began = now, self._began or self._opened
        if not self._announced and all(slot.ready for slot in self._slots):
            self._announced = True
            self._announce()

    def _tell(self, now: float, phase: Phase | None = None) -> None:
        """Tell the service manager how we are, and that we live, if we do."""
        if phase is None:
            phase = "serving" if self._began else "starting"
            if self._stop is not None:
                phase = "stopping"
            elif self._began and not self._config.settled(self._keeper):
                phase = "reloading"
        count = sum(worker.ready for worker in self._workers)
        cache = "off" if self._keeper is None else "on" if self._keeper.ready else "away"
        status = f"{phase}: {count} of {len(self._workers)} workers, cache {cache}"
        alive = self._stop is not None or now < self._served_at + LIFELESS_SECONDS
        self._manager.tell(Standing(phase, status, alive), now)

    def _announce(self) -> None:
        cache = self._config.settings.cache
        api, metrics = (
            ", ".join(each.url for each in self._listeners if each.kind == kind)
            for kind in ("api", "metrics")
        )
        log.info(
            "ready: images at %s (upstream %s), metrics at %s, cache %s",
            api,
            self._config.settings.upstream.url,
            metrics,
            cache.directory if cache.enabled else "off",
        )

    def _start(self, slot: Slot, now: float) -> None:
        try:
            pid, control = fork()
        except OSError as error:  # no memory, or too many processes or descriptors
            log.warning("%s cannot be started: %s", slot.name, error.strerror)
            slot.start_at = now + ACCEPT_PAUSE_SECONDS
            return
        if pid == 0:
            become(slot.name, partial(self._enter, slot, control), self._close_all)
        slot.started(pid, control, now)
        log.info("%s started (process %d)", slot.name, pid)
        self._meter.inc(CHILD_STARTS, 1, "keeper" if slot is self._keeper else "worker")
        if slot is not self._keeper:
            self._link(slot, now)

    def _enter(self, slot: Slot, control: socket.socket) -> int:
        meter = self._board.meter(slot.row)
        if slot is self._keeper:
            return self._entries.keeper(self._config.settings, self._past, control, meter)
        return self._entries.worker(
            self._config.settings, self._workers.index(slot), control, meter
        )

    def _link(self, worker: Slot, now: float) -> None:
        """Connect a worker with the keeper, if both are there."""
        worker.linked_at, worker.link_wanted = now, False
        if self._keeper is None or not self._keeper.ready:
            return  # the keeper's Ready comes back to this
        if worker.pid is None or worker.control is None:
            return  # so does the start of its successor
        try:
            near, far = socket_pair()
        except OSError as error:
            log.warning("%s stays without the keeper for now: %s", worker.name, error.strerror)
            worker.link_wanted = True
            return
        worker.link += 1
        if not self._keeper.send(WorkerLink(self._workers.index(worker), worker.pid), near):
            near.close()
        if not worker.send(KeeperLink(worker.link), far):
            far.close()

    def _reap(self, now: float) -> None:
        for slot in self._slots:
            if slot.pid is None:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid == 0:
                continue
            reason = slot.died(status, now)
            self._board.zero_gauges(slot.row)
            if self._stop is not None:
                log.info("%s (process %d) %s", slot.name, pid, reason)
            elif os.waitstatus_to_exitcode(status) == os.EX_CONFIG and not self._began:
                # Once it has served, a node passes through whatever becomes of its cache.
                self._begin_stop(1, now)
            else:
                after = (slot.start_at or now) - now
                log.warning(
                    "%s (process %d) %s; it is started again in %.1f s",
                    *(slot.name, pid, reason, after),
                )
            if slot is self._keeper:
                self._past = self._past.died(status, now)
                self._opened = True  # whoever comes is served without it

    # --- stopping ---

    def _begin_stop(self, code: int, now: float) -> None:
        self._attention.listen(())
        for listener in self._listeners:
            listener.sock.close()
        self._listeners.clear()
        drain_seconds = self._config.settings.drain_seconds
        self._stop = Stop(code, self._workers, self._keeper, drain_seconds, now)

    def _close_all(self) -> None:
        for listener in self._listeners:
            listener.sock.close()
        for slot in self._slots:
            slot.drop_control()
        self._attention.close()
        if self._signals is not None:
            self._signals.close()

    # --- what to wait for ---

    def _next_deadline(self, now: float) -> float:
        deadlines = [self._manager.due]
        if self._stop is not None:
            deadlines.append(self._stop.due)
        hang_seconds = self._config.settings.hang_seconds
        for slot in self._slots:
            if (hangs_at := slot.hangs_at(hang_seconds)) is not None:
                deadlines.append(hangs_at)
            if slot.start_at is not None and self._stop is None:
                deadlines.append(slot.start_at)
            if slot.link_wanted:
                deadlines.append(slot.linked_at + LINK_PAUSE_SECONDS)
        if not self._opened:
            deadlines.append(self._open_at)
        if now < self._accept_at:
            deadlines.append(self._accept_at)
        return min(deadlines)
