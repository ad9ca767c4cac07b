"""The numbers under which projects are charged for their chunks."""

from __future__ import annotations

from collections.abc import Iterable

from cacheproxy.store.layout import KEY_BYTES_MAX, NOBODY, Key, Table, owner_name, owner_number
from cacheproxy.store.writer import Writer


class Owners:
    """Gives each project a number when it first stores something."""

    def __init__(self, writer: Writer, used: Iterable[int]) -> None:
        """`used`: the numbers that there are, of projects and of chunks."""
        self._writer = writer
        self._last = max(used, default=NOBODY)

    def number(self, project: str | None) -> int:
        """Return a project's number; `NOBODY` for none, or for a name that cannot be one."""
        name = (project or "").encode()
        if not 0 < len(name) <= KEY_BYTES_MAX:
            return NOBODY
        key = Key(Table.PROJECTS, name)
        known = self._writer.read(key)
        if known is not None:
            return owner_number(known)
        # Committed no later than the first chunk that is charged to it: changes keep their order.
        self._last += 1
        self._writer.write(key, owner_name(self._last))
        return self._last
