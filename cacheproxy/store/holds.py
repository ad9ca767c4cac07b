"""Who needs which chunk's file to stay: holders that have it open, and protections.

A *hold* is revocable: its holder is asked to let go when the chunk is to be evicted.  A
*protection* is not: the chunk is not evicted while there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable


class Holds:
    """Counts, by digest and holder; nothing is kept for a chunk that nobody needs."""

    def __init__(self) -> None:
        self._by_holder: dict[Hashable, Counter[bytes]] = {}
        self._holders: dict[bytes, set[Hashable]] = {}
        self._protections: Counter[bytes] = Counter()

    def __repr__(self) -> str:
        return f"<Holds {len(self._holders)} held, {len(self._protections)} protected>"

    def hold(self, digest: bytes, holder: Hashable) -> bool:
        """One more open descriptor; True if it is this holder's first of the chunk."""
        counts = self._by_holder.setdefault(holder, Counter())
        counts[digest] += 1
        self._holders.setdefault(digest, set()).add(holder)
        return counts[digest] == 1

    def release(self, digest: bytes, holder: Hashable, count: int) -> None:
        """So many fewer; releasing more than is held releases all (a peer may miscount)."""
        counts = self._by_holder.get(holder)
        if counts is None or digest not in counts:
            return
        counts[digest] -= count
        if counts[digest] <= 0:
            del counts[digest]
            self._drop(digest, holder)
        if not counts:
            del self._by_holder[holder]

    def forget(self, holder: Hashable) -> list[bytes]:
        """The holder is gone, and its descriptors with it; returns the chunks that it held."""
        counts = self._by_holder.pop(holder, Counter())
        for digest in counts:
            self._drop(digest, holder)
        return list(counts)

    def _drop(self, digest: bytes, holder: Hashable) -> None:
        holders = self._holders[digest]
        holders.discard(holder)
        if not holders:
            del self._holders[digest]

    def holders(self, digest: bytes) -> list[Hashable]:
        """Return who holds a chunk."""
        return list(self._holders.get(digest, ()))

    def protect(self, digest: bytes) -> None:
        """One more reason to keep it."""
        self._protections[digest] += 1

    def unprotect(self, digest: bytes) -> None:
        """One reason fewer; each `protect` is undone once."""
        assert self._protections[digest] > 0, "unprotected more often than protected"
        self._protections[digest] -= 1
        if not self._protections[digest]:
            del self._protections[digest]

    def protected(self, digest: bytes) -> bool:
        """Whether anybody protects it."""
        return digest in self._protections

    def free(self, digest: bytes) -> bool:
        """Whether nobody holds or protects it."""
        return digest not in self._holders and digest not in self._protections
