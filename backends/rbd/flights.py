"""What librbd reads and writes by itself, so that an image is not closed in the midst of it.

Librbd may wait for ever where an image that was resized is closed before its writes have ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Flights:
    """Counts what was begun and has not ended, of one image."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def begin(
        self, submit: Callable[[Callable[..., None]], object], called: Callable[..., None]
    ) -> None:
        """Begin something; `called` is called when it ends, in any thread."""

        def ended(*told: Any) -> None:
            called(*told)
            self._add(-1)

        self._add(1)
        try:
            submit(ended)
        except BaseException:
            self._add(-1)
            raise

    def wait(self) -> None:
        """Wait until all has ended, which it does within Ceph's time.  Blocks."""
        with self._changed:
            self._changed.wait_for(lambda: not self._count)

    def _add(self, count: int) -> None:
        with self._changed:
            self._count += count
            self._changed.notify_all()
