"""The numbers under which projects are charged for their chunks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice

from cacheproxy.store.layout import KEY_BYTES_MAX, NOBODY, Key, Table, owner_name, owner_number
from cacheproxy.store.writer import Writer

FORGOTTEN_MAX = 1024  # projects forgotten in one start


class Owners:
    """Gives each project a number when it first stores something.

    A project that has no chunk left is forgotten at the next start.
    """

    def __init__(
        self, writer: Writer, projects: Mapping[bytes, int], charged: Collection[int]
    ) -> None:
        """`projects`: their numbers; `charged`: the numbers that chunks are charged to."""
        self._writer = writer
        self._last = max((*projects.values(), *charged), default=NOBODY)
        idle = (name for name, number in projects.items() if number not in charged)
        for name in islice(idle, FORGOTTEN_MAX):
            writer.write(Key(Table.PROJECTS, name), None)

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
