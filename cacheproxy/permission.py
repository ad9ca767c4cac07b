"""Who may download what: asked of the upstream, believed for seconds.

Every request is decided by the upstream's own policy for the caller's own credentials.  Rules:

1. A belief belongs to one image and to one set of request headers: all that the question carried,
   but for those in `HARMLESS`.  The headers themselves are not kept, only their HMAC.  A query
   (`prefer=…`, which has a policy of its own) is asked and believed as another question.
2. Only a plain yes is believed, counted from the moment of asking.  An upstream that ignores ranges
   says yes to those who wait for it.  Anything else, silence too, is a no that is not remembered:
   the client's own request then gets the upstream's own answer.  A refusal erases what was believed
   of these tokens and this image, whatever else was sent with them.
3. Equal questions at the same time are asked once.  The question belongs to this object, not to
   the request that caused it, and ends within the upstream client's timeouts.
4. After a purge nothing that was asked before it is believed, or joined.
5. With `on_upstream_failure = serve-recently-allowed` whoever was allowed within the window goes on
   while the upstream is silent, and waits for it no longer than `PATIENCE_SECONDS` a question.

All state changes in plain functions, never across an await.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cacheproxy.config import UpstreamSettings
from cacheproxy.core.beliefs import Belief, Beliefs
from cacheproxy.core.judgement import Verdict
from cacheproxy.headers import Headers, end_to_end
from cacheproxy.meter import Meter
from cacheproxy.metrics import RECENTLY_ALLOWED

SECRET_BYTES = 32
# How long who was allowed recently waits for an upstream that says nothing.  qemu gives up after 5 s.
PATIENCE_SECONDS = 3.0

TOKENS = frozenset({"x-auth-token", "x-service-token"})  # who somebody is

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
    """Asks the upstream."""

    async def may_download(self, image_id: str, headers: Headers, query: str = "") -> Verdict:
        """Tell what it says to the sender of these headers, who sends this query, too."""


@dataclass(eq=False, slots=True)
class _Question:
    image_id: str
    asked_at: float
    task: asyncio.Task[bool]


class Permissions:
    """Answers "may this caller download this image?" for one process and one upstream."""

    def __init__(
        self,
        asking: Asks,
        settings: UpstreamSettings,
        meter: Meter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asking = asking
        self._url = settings.url
        self._beliefs = Beliefs(
            settings.permission_seconds,
            settings.recently_allowed_seconds if settings.serves_recently_allowed else 0.0,
            settings.permission_entries_max,
        )
        self._meter = meter
        self._clock = clock
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._questions: dict[bytes, _Question] = {}  # that may be joined
        self._tasks: set[asyncio.Task[bool]] = set()  # theirs, and those from before a purge

    def __repr__(self) -> str:
        return f"Permissions({len(self._beliefs)} believed, {len(self._tasks)} being asked)"

    async def allowed(self, image_id: str, headers: Headers, query: str = "") -> bool:
        """Tell whether the upstream lets the sender of these headers download this image now.

        False as well when the upstream does not answer, or answers neither yes nor no, to one who
        may not go on without its word.
        """
        key = self.key(image_id, headers, query)
        if self._beliefs.fresh(key, self._clock()) is not None:
            return True
        question = self._questions.get(key) or self._ask(key, image_id, headers, query)
        if self._beliefs.recent(key, self._clock()):
            patience = question.asked_at + PATIENCE_SECONDS - self._clock()
            await asyncio.wait([question.task], timeout=max(0.0, patience))
            if not question.task.done() and self._goes_on(key):
                return True
        return await asyncio.shield(question.task)

    def purge(self, image_id: str | None) -> None:
        """Forget what was answered, or is being asked, about an image; None: about all of them."""
        if image_id is None:
            self._beliefs.clear()
            self._questions.clear()
            return
        self._beliefs.forget_image(image_id)
        for key in [k for k, asked in self._questions.items() if asked.image_id == image_id]:
            del self._questions[key]

    async def close(self) -> None:
        """Give up what is being asked; whoever waits for it is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def belief(self, key: bytes, now: float) -> Belief | None:
        """Return why the upstream need not be asked about this `key`: it just said yes.

        It may be kept, and counts without being asked for again while `now`, of time.monotonic(),
        is before its `until`.
        """
        return self._beliefs.fresh(key, now)

    def key(self, image_id: str, headers: Headers, query: str = "") -> bytes:
        """Return what a belief is found under: it tells nothing without this process's secret."""
        parts = [self._url, image_id, query]
        for name, value in _asked(headers):
            if name not in HARMLESS:
                parts += (name, value)
        return self._digest(parts)

    def _caller(self, headers: Headers) -> bytes:
        """Return what is the same for all questions with the same tokens, likewise."""
        return self._digest([part for f in _asked(headers) if f[0] in TOKENS for part in f])

    def _digest(self, parts: Sequence[str]) -> bytes:
        # Each part with its length: no two lists make the same text.
        encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
        text = b"".join(b"%d:%b" % (len(part), part) for part in encoded)
        return hmac.digest(self._secret, text, "sha256")

    def _goes_on(self, key: bytes) -> bool:
        """Whether one whom the upstream tells nothing was allowed recently; not to ask at once again."""
        if not self._beliefs.recent(key, self._clock()):
            return False
        self._beliefs.prolong(key, self._clock())
        self._meter.inc(RECENTLY_ALLOWED)
        return True

    def _ask(self, key: bytes, image_id: str, headers: Headers, query: str) -> _Question:
        task = asyncio.get_running_loop().create_task(self._answer(key, image_id, headers, query))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        question = self._questions[key] = _Question(image_id, self._clock(), task)
        return question

    async def _answer(self, key: bytes, image_id: str, headers: Headers, query: str) -> bool:
        verdict = Verdict.UNCLEAR
        purged = True
        try:
            verdict = await self._asking.may_download(image_id, headers, query)
        finally:
            question = self._questions.get(key)
            if question is not None and question.task is asyncio.current_task():
                purged = False
                del self._questions[key]
                if verdict is Verdict.ALLOWED:
                    caller = self._caller(headers)
                    self._beliefs.allowed(key, image_id, caller, question.asked_at)
        match verdict:
            case Verdict.ALLOWED | Verdict.ALLOWED_ONCE:
                return True
            case Verdict.REFUSED:
                self._beliefs.refused(image_id, self._caller(headers))
                return False
            case Verdict.SILENT:
                return not purged and self._goes_on(key)
            case _:
                return False


def _asked(headers: Headers) -> Headers:
    """Return the fields that a question carries, whatever the order of their names."""
    return sorted(
        ((name.lower(), value) for name, value in end_to_end(headers)),
        key=lambda field: field[0],  # repeated fields keep their order
    )
