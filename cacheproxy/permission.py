"""Who may download what: asked of the upstream, believed for seconds.

Every request is decided by the upstream's own policy for the caller's own credentials.  Rules:

1. A belief belongs to one image and to one set of request headers: all that the question carried,
   but for those in `HARMLESS`.  The headers themselves are not kept, only their HMAC.
2. Only a plain yes (416) is believed, counted from the moment of asking.  A 200 (an upstream that
   ignores ranges) is a yes for those who wait for it.  Anything else, silence too, is a no that
   is not remembered: the client's own request then gets the upstream's own answer.
3. Equal questions at the same time are asked once.  The question belongs to this object, not to
   the request that caused it, and ends within the upstream client's timeouts.
4. After a purge nothing that was asked before it is believed, or joined.

All state changes in plain functions, never across an await.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cacheproxy.config import UpstreamSettings
from cacheproxy.headers import Headers, end_to_end

YES = 416  # the answer to an unsatisfiable range
YES_WITHOUT_RANGES = 200
SECRET_BYTES = 32

# Names that differ from request to request of one caller and that no Glance decides by: request
# ids and tracing (OpenStack, W3C, OSProfiler).  Closed: whatever is not here makes another key.
HARMLESS = frozenset(
    {
        "baggage",
        "date",
        "traceparent",
        "tracestate",
        "x-openstack-request-id",
        "x-request-id",
        "x-trace-hmac",
        "x-trace-info",
    }
)


class Asks(Protocol):
    """What this needs of the upstream client."""

    async def may_download(self, image_id: str, headers: Headers) -> int | None:
        """Return the status of the question; None: no answer."""


@dataclass(frozen=True, slots=True)
class _Belief:
    image_id: str
    until: float


@dataclass(eq=False, slots=True)
class _Question:
    image_id: str
    asked_at: float
    task: asyncio.Task[bool]


class Permissions:
    """Answers "may this caller download this image?" for one process and one upstream."""

    def __init__(
        self,
        upstream: Asks,
        settings: UpstreamSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._url = settings.url
        self._seconds = settings.permission_seconds
        self._entries_max = settings.permission_entries_max
        self._clock = clock
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._beliefs: OrderedDict[bytes, _Belief] = OrderedDict()  # the longest unused first
        self._images: dict[str, set[bytes]] = {}  # the keys of each image's beliefs
        self._questions: dict[bytes, _Question] = {}  # that may be joined
        self._tasks: set[asyncio.Task[bool]] = set()  # theirs, and those from before a purge

    def __repr__(self) -> str:
        return f"Permissions({len(self._beliefs)} believed, {len(self._tasks)} being asked)"

    async def allowed(self, image_id: str, headers: Headers) -> bool:
        """Tell whether the upstream lets the sender of these headers download this image now.

        False as well when the upstream does not answer, or answers neither yes nor no.
        """
        key = self._key(image_id, headers)
        if self._believed(key):
            return True
        question = self._questions.get(key) or self._ask(key, image_id, headers)
        return await asyncio.shield(question.task)

    def purge(self, image_id: str | None) -> None:
        """Forget what was answered, or is being asked, about an image; None: about all of them."""
        if image_id is None:
            self._beliefs.clear()
            self._images.clear()
            self._questions.clear()
            return
        for key in self._images.pop(image_id, ()):
            del self._beliefs[key]
        for key in [k for k, asked in self._questions.items() if asked.image_id == image_id]:
            del self._questions[key]

    async def close(self) -> None:
        """Give up what is being asked; whoever waits for it is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _key(self, image_id: str, headers: Headers) -> bytes:
        """Return what a belief is found under: it tells nothing without this process's secret."""
        asked = sorted(
            ((name.lower(), value) for name, value in end_to_end(headers)),
            key=lambda field: field[0],  # repeated fields keep their order
        )
        parts = [self._url, image_id]
        for name, value in asked:
            if name not in HARMLESS:
                parts += (name, value)
        # Each part with its length: no two lists make the same text.
        encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
        text = b"".join(b"%d:%b" % (len(part), part) for part in encoded)
        return hmac.digest(self._secret, text, "sha256")

    def _believed(self, key: bytes) -> bool:
        belief = self._beliefs.get(key)
        if belief is None:
            return False
        if belief.until <= self._clock():
            self._forget(key)
            return False
        self._beliefs.move_to_end(key)
        return True

    def _believe(self, key: bytes, question: _Question) -> None:
        self._beliefs[key] = _Belief(question.image_id, question.asked_at + self._seconds)
        self._beliefs.move_to_end(key)
        self._images.setdefault(question.image_id, set()).add(key)
        while len(self._beliefs) > self._entries_max:
            self._forget(next(iter(self._beliefs)))

    def _forget(self, key: bytes) -> None:
        image_id = self._beliefs.pop(key).image_id
        keys = self._images[image_id]
        keys.remove(key)
        if not keys:
            del self._images[image_id]

    def _ask(self, key: bytes, image_id: str, headers: Headers) -> _Question:
        task = asyncio.get_running_loop().create_task(self._answer(key, image_id, headers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        question = self._questions[key] = _Question(image_id, self._clock(), task)
        return question

    async def _answer(self, key: bytes, image_id: str, headers: Headers) -> bool:
        status: int | None = None
        try:
            status = await self._upstream.may_download(image_id, headers)
        finally:
            question = self._questions.get(key)
            if question is not None and question.task is asyncio.current_task():
                # Not purged meanwhile.
                del self._questions[key]
                if status == YES:
                    self._believe(key, question)
        return status in (YES, YES_WITHOUT_RANGES)
