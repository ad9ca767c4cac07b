"""The tokens with which URLs were signed, in memory only, for as long as there is room.

A worker tells the others what it is given, through the supervisor, which keeps none of it.  Who
starts later does not know them: then the proxy's own account has to do.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from cacheproxy.headers import Headers
from cacheproxy.permission import HARMLESS

HEADERS_BYTES_MAX = 32 << 10  # of one URL; a token with its catalog inside is long
BYTES_MAX = 8 << 20  # of all; those that were not used for longest go first
_ENTRY_BYTES = 512  # what an entry takes beside its texts
_TOLD_SECONDS_MAX = 2.0  # the longest way of a token from one worker to another


@dataclass(frozen=True, slots=True)
class _Entry:
    headers: Headers = field(repr=False)
    until: int  # seconds since 1970


class GrantCredentials:
    """The headers that stand for each signed URL, by its name; belongs to one loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Tell the time in seconds since 1970."""
        self._clock = clock
        self._known: OrderedDict[str, _Entry] = OrderedDict()  # the longest unused first
        self._bytes = 0
        self._awaited: dict[str, asyncio.Event] = {}

    def __repr__(self) -> str:
        return f"<GrantCredentials {len(self._known)}>"

    def put(self, name: str, headers: Headers, until: int) -> None:
        """Remember them until the URL ends; they replace what was known."""
        now = self._clock()
        for each in [each for each, entry in self._known.items() if entry.until <= now]:
            self.forget(each)
        self.forget(name)
        self._known[name] = _Entry(headers, until)
        self._bytes += _cost(headers)
        while self._bytes > BYTES_MAX:
            self.forget(next(iter(self._known)))
        if name in self._awaited:
            self._awaited[name].set()

    def get(self, name: str) -> Headers | None:
        """Find them."""
        entry = self._known.get(name)
        if entry is None:
            return None
        self._known.move_to_end(name)
        return entry.headers

    def forget(self, name: str) -> None:
        """They are of no more use."""
        entry = self._known.pop(name, None)
        if entry is not None:
            self._bytes -= _cost(entry.headers)

    async def arrived(self, name: str) -> Headers | None:
        """Find those of a URL that is new: another worker may be about to tell them."""
        if name not in self._known:
            event = self._awaited.setdefault(name, asyncio.Event())
            try:
                async with asyncio.timeout(_TOLD_SECONDS_MAX):
                    await event.wait()
            except TimeoutError:
                pass
            finally:
                if self._awaited.get(name) is event:
                    del self._awaited[name]
        return self.get(name)


def credentials(headers: Headers) -> Headers:
    """Return those of a request's fields by which the upstream tells who asks."""
    return [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in HARMLESS
        and (lower.startswith("x-") or lower == "authorization")
    ]


def size(headers: Headers) -> int:
    """Return how many characters they have."""
    return sum(len(name) + len(value) for name, value in headers)


def _cost(headers: Headers) -> int:
    return _ENTRY_BYTES + size(headers)
