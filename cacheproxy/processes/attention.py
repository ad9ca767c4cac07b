"""What the supervisor waits for: its signals, its children, and clients while they can be served."""

from __future__ import annotations

import math
import selectors
import socket
from collections.abc import Iterable, Sequence

from cacheproxy.processes.listeners import Listener
from cacheproxy.processes.signals import Signals
from cacheproxy.processes.slot import Slot

Source = Slot | Listener | Signals


class Attention:
    """A selector that follows what changes: children come and go, listeners are left alone."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._watched: dict[Slot, tuple[socket.socket, int]] = {}
        self._listening: Sequence[Listener] = ()

    def heed(self, signals: Signals) -> None:
        """Wake for signals from now on."""
        self._selector.register(signals.sock, selectors.EVENT_READ, signals)

    def follow(self, slots: Iterable[Slot]) -> None:
        """Look at what these children say, and at whether they read where something waits."""
        wanted = {
            slot: (
                slot.control,
                selectors.EVENT_READ | (selectors.EVENT_WRITE if slot.backlogged else 0),
            )
            for slot in slots
            if slot.control is not None
        }
        # First all that is over: a closed descriptor's number may be another one's by now.
        for slot in [slot for slot, what in self._watched.items() if wanted.get(slot) != what]:
            self._selector.unregister(self._watched.pop(slot)[0])
        for slot, (control, events) in wanted.items():
            if slot not in self._watched:
                self._selector.register(control, events, slot)
                self._watched[slot] = (control, events)

    def listen(self, listeners: Sequence[Listener]) -> None:
        """Look at these listeners and no others; none: connections wait in their backlog."""
        if listeners and not self._listening:
            for listener in listeners:
                self._selector.register(listener.sock, selectors.EVENT_READ, listener)
        elif self._listening and not listeners:
            for listener in self._listening:
                self._selector.unregister(listener.sock)
        self._listening = tuple(listeners)

    def wait(self, seconds: float) -> list[tuple[Source, bool, bool]]:
        """Wait so long at most; who has something, whether to be read, whether it reads again."""
        ready = self._selector.select(None if seconds == math.inf else max(0, seconds))
        return [
            (key.data, bool(events & selectors.EVENT_READ), bool(events & selectors.EVENT_WRITE))
            for key, events in ready
        ]

    def close(self) -> None:
        """Let go of the selector."""
        self._selector.close()
