"""Which fill is fetching which chunk, by digest: contents that share chunks fetch each once.

Only fills of proven contents know digests ahead.  A chunk is claimed exactly while a leg expects
it, and legs wait for nothing but their source, so nobody waits in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable


class InFlight:
    """The claims of all legs, and who waits for another's."""

    def __init__(self) -> None:
        self._claims: dict[bytes, Hashable] = {}
        self._waiting: dict[bytes, dict[Hashable, Callable[[], None]]] = {}

    def __repr__(self) -> str:
        return f"<InFlight {len(self._claims)} chunks, {len(self._waiting)} wanted elsewhere>"

    def claim(self, fill: Hashable, digests: Iterable[bytes]) -> set[bytes]:
        """Say what a leg will bring; returns those that nobody else brings, to be released."""
        mine = {digest for digest in digests if digest not in self._claims}
        self._claims.update(dict.fromkeys(mine, fill))
        return mine

    def elsewhere(self, fill: Hashable, digest: bytes) -> bool:
        """Whether another fill is fetching the chunk."""
        return self._claims.get(digest, fill) != fill

    def wait(self, fill: Hashable, digest: bytes, look: Callable[[], None]) -> None:
        """Call `look`, once, when the other fill has the chunk or has given it up."""
        self._waiting.setdefault(digest, {})[fill] = look

    def release(self, digest: bytes) -> None:
        """It has landed, or will not."""
        del self._claims[digest]
        for look in self._waiting.pop(digest, {}).values():
            look()
