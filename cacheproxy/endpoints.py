"""The URLs of the upstream: which one is asked, and when another one is.

All of them lead to one service, so any may answer.  The first that works is used: nodes that list
them in different orders spread their load, and one node's requests see one Glance's order of events.

1. A request goes to the first URL that is not known to fail.
2. What was not sent (no connection) goes to the next one, a change too.
3. A reading request without a body goes to the next one as well when no head of an answer came, or
   none within `failover_seconds`.  The last one is given the whole `read_timeout_seconds`.
4. A reading request that is answered 502, 503 or 504 is tried at the others, too.  Who has a better
   answer is believed, and the refusal counts against the first; if nobody has, it is relayed as it
   stands and counts against nobody: Glance says 503 itself, of a store that is down.
5. A change that was sent is never sent again, whatever becomes of it.
6. While all are known to fail, a request has `GRACE_SECONDS` in which one of them is asked whether
   it is back, and fails then (UpstreamDownError): most returns cost nobody an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cacheproxy.config import UpstreamSettings
from cacheproxy.connections import Connections, UpstreamDownError, UpstreamNotReachedError
from cacheproxy.endpoint import GATEWAY_STATUSES, Endpoint, Question, Reply
from cacheproxy.errors import UpstreamUnreachableError
from cacheproxy.meter import Meter
from cacheproxy.metrics import UPSTREAM_DOWN, UPSTREAM_FAILOVERS
from cacheproxy.upstream_tls import upstream_context

GRACE_SECONDS = 0.25


class Endpoints:
    """All URLs of one upstream.  Build it on the loop that will use it; `close` it."""

    def __init__(self, settings: UpstreamSettings, meter: Meter) -> None:
        self._meter = meter
        self._news = asyncio.Event()
        self._failover_seconds = settings.failover_seconds
        self._last_seconds = settings.connect_timeout_seconds + settings.read_timeout_seconds
        tls = upstream_context(settings)
        self._all = [
            Endpoint(place, url, Connections(settings, tls), meter, self._news.set)
            for place, url in enumerate(settings.urls, 1)
        ]

    def __repr__(self) -> str:
        return ", ".join(map(repr, self._all))

    async def close(self) -> None:
        """End all connections."""
        for endpoint in self._all:
            await endpoint.close()

    async def ask(self, question: Question) -> Reply:
        """Send a request and return the best answer, as soon as its head is there.

        UpstreamNotReachedError if nothing was sent, else UpstreamUnreachableError.
        """
        left = await self._usable()
        refused: list[tuple[Endpoint, float, Reply]] = []
        failure: UpstreamUnreachableError | None = None
        try:
            while left:
                endpoint, began = left.pop(0), asyncio.get_running_loop().time()
                left = [each for each in left if each.circuit.usable]
                try:
                    reply = await endpoint.ask(question, self._patience(question, left))
                except UpstreamUnreachableError as error:
                    if not _may_go_on(question, error):
                        raise
                    failure = failure or error
                else:
                    if reply.response.status not in GATEWAY_STATUSES or not question.repeatable:
                        for worse, asked, _ in refused:
                            worse.outdone(asked)
                        return reply
                    refused.append((endpoint, began, reply))
                if left:
                    self._meter.inc(UPSTREAM_FAILOVERS)
            if refused:
                return refused.pop(0)[2]
        finally:
            for _, _, reply in refused:
                reply.response.close()
        assert failure is not None
        raise failure

    def _patience(self, question: Question, left: Sequence[Endpoint]) -> float | None:
        if not question.repeatable:
            return None  # an upload takes its time; the connections bound the wait behind it
        return self._failover_seconds if left else self._last_seconds

    async def _usable(self) -> list[Endpoint]:
        """Return the URLs that may be asked, the preferred one first; UpstreamDownError: none."""
        if not any(each.circuit.usable for each in self._all):
            await self._look()
        if usable := [each for each in self._all if each.circuit.usable]:
            return usable
        self._meter.inc(UPSTREAM_DOWN)
        raise UpstreamDownError(min(each.news_seconds for each in self._all))

    async def _look(self) -> None:
        """Have all looked at, and wait a moment for one that is back."""
        for endpoint in self._all:
            endpoint.hasten()
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                while all(not e.circuit.usable for e in self._all) and any(
                    e.news_seconds == 0 for e in self._all
                ):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass


def _may_go_on(question: Question, error: UpstreamUnreachableError) -> bool:
    """Tell whether a request that failed so may be sent to another URL."""
    if isinstance(error, UpstreamNotReachedError):
        return question.upload is None or not question.upload.begun
    return question.repeatable
