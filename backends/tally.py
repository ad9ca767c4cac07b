"""What was written of an object so far, against the size that was promised for it."""

from __future__ import annotations

from backends.errors import InvalidError


class Tally:
    """The rules of a `Writer` that all drivers share: the size, and nothing after the end."""

    __slots__ = ("_name", "_promised", "finished", "written")

    def __init__(self, name: str, promised: int | None) -> None:
        self._name = name
        self._promised = promised
        self.written = 0
        self.finished = False

    def add(self, count: int) -> None:
        """Count bytes that are about to be written; InvalidError beyond the promised size."""
        self._not_finished()
        self.written += count  # also when too many: a commit must not succeed after that
        if self._promised is not None and self.written > self._promised:
            raise InvalidError(f"{self._name}: more than the promised {self._promised} bytes")

    def finish(self) -> None:
        """Begin the commit; InvalidError if the size is not the promised one."""
        self._not_finished()
        self.finished = True
        if self._promised is not None and self.written != self._promised:
            raise InvalidError(
                f"{self._name}: {self.written} bytes were written, {self._promised} were promised"
            )

    def _not_finished(self) -> None:
        if self.finished:
            raise RuntimeError(f"{self._name}: used after its commit")
