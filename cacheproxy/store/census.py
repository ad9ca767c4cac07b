"""How many chunks there are, and of how many bytes, by queue and by owner."""

from __future__ import annotations

from collections.abc import Mapping

from cacheproxy.store.layout import NOBODY, ChunkEntry, Sum


class Census:
    """Sums that follow entries as they come and go; owners without a chunk are not kept."""

    def __init__(self, queues: Mapping[int, Sum], owners: Mapping[int, Sum]) -> None:
        self.queues = dict(queues)
        self.owners = dict(owners)

    @property
    def total(self) -> Sum:
        """The sum of all chunks."""
        sums = self.queues.values()
        return Sum(sum(each.chunks for each in sums), sum(each.cost for each in sums))

    def queue(self, queue: int) -> Sum:
        """Return what a queue holds."""
        return self.queues.get(queue, Sum())

    def owner(self, owner: int) -> Sum:
        """Return what is charged to an owner."""
        return self.owners.get(owner, Sum())

    def replace(self, old: ChunkEntry | None, new: ChunkEntry | None) -> None:
        """An entry has come (`old` is None), gone (`new` is None) or changed."""
        for entry, sign in ((old, -1), (new, 1)):
            if entry is not None:
                _add(self.queues, entry.place.queue, sign, sign * entry.cost)
                if entry.owner != NOBODY:
                    _add(self.owners, entry.owner, sign, sign * entry.cost)


def _add(sums: dict[int, Sum], name: int, chunks: int, cost: int) -> None:
    before = sums.pop(name, Sum())
    after = Sum(before.chunks + chunks, before.cost + cost)
    if after != (0, 0):
        sums[name] = after
