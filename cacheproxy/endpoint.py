"""One URL of the upstream: its connections, and whether it is used.

What is believed of it belongs to one process: each learns from its own first failures, of which
`core/circuit.py` needs few, and no process's trouble (a loop that stood still, no descriptors left)
cuts another one off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import aiohttp
from yarl import URL

from cacheproxy.connections import (
    READING_METHODS,
    Connections,
    Upload,
    UpstreamNotReachedError,
    UpstreamSilentError,
    translated,
)
from cacheproxy.core.circuit import Circuit
from cacheproxy.errors import UpstreamUnreachableError
from cacheproxy.headers import Headers
from cacheproxy.meter import Meter
from cacheproxy.metrics import UPSTREAM_FAILURES, UPSTREAM_OPENINGS, UPSTREAM_UNUSED

QUESTION = "/versions"  # which Glance answers without a token, a database or a store
QUESTION_SECONDS = 5.0  # for its answer, connection included
DOUBT_SECONDS = 10.0  # a client who gives up after so long has seen a failure
GATEWAY_STATUSES = frozenset({502, 503, 504})  # what stands before a Glance says when that is away

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """A request to the upstream, as it stands."""

    method: str
    target: str  # path and query, encoded
    headers: Headers
    upload: Upload | None

    @property
    def repeatable(self) -> bool:
        """Whether it may be asked again after it was sent: it changes nothing."""
        return self.method in READING_METHODS and self.upload is None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose head is there, and the URL that gave it; close it."""

    url: str  # the base URL, without a slash at its end
    response: aiohttp.ClientResponse


class Endpoint:
    """One URL.  Belongs to the loop that it is built on; `close` it.

    `on_news` is called whenever the URL may have become usable, or a question has ended.
    """

    def __init__(
        self,
        place: int,
        url: str,
        connections: Connections,
        meter: Meter,
        on_news: Callable[[], None],
    ) -> None:
        self.circuit = Circuit()
        self._label = str(place)
        self._url = url.rstrip("/")
        self._connections = connections
        self._meter = meter
        self._on_news = on_news
        self._loop = asyncio.get_running_loop()
        self._hastened = asyncio.Event()
        self._questioning: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"{URL(self._url).with_user(None)} {self.circuit.state.value}"

    async def close(self) -> None:
        """End all connections."""
        self._closed = True
        if self._questioning is not None:
            self._questioning.cancel()
            await asyncio.wait([self._questioning])
        await self._connections.close()

    @property
    def news_seconds(self) -> float:
        """How long until it is looked at again, while it is not used; 0: just now."""
        return max(0.0, self.circuit.ask_at - self._loop.time())

    def hasten(self) -> None:
        """Look at it as soon as may be: there is nobody else to ask."""
        self.circuit.hasten(self._loop.time())
        self._hastened.set()

    async def ask(self, question: Question, head_seconds: float | None) -> Reply:
        """Send a request and return its answer as soon as its head is there.

        `head_seconds` bounds the wait for it; None: by the connections' own bounds only.
        UpstreamNotReachedError if nothing was sent, else UpstreamUnreachableError.
        """
        began = self._loop.time()
        try:
            response = await self._ask(question, head_seconds)
        except UpstreamUnreachableError as error:
            if question.upload is None or not question.upload.broken:
                self._failed(began, error, question.method)
            raise
        except asyncio.CancelledError:
            if question.upload is None and self._loop.time() - began > DOUBT_SECONDS:
                self._doubt("a client did not wait for its answer any longer")
            raise
        if response.status not in GATEWAY_STATUSES:
            self._answered()
        return Reply(self._url, response)

    def outdone(self, began: float) -> None:
        """Another URL had an answer for what this one, asked then, refused as a gateway."""
        self._meter.inc(UPSTREAM_FAILURES, 1, self._label)
        self._fault(began, "it has no image service behind it")

    async def _ask(self, question: Question, head_seconds: float | None) -> aiohttp.ClientResponse:
        with translated():
            async with asyncio.timeout(head_seconds):
                return await self._connections.session(question.method).request(
                    question.method,
                    URL(self._url + question.target, encoded=True),
                    headers=question.headers,
                    data=question.upload,
                    allow_redirects=False,
                    timeout=self._connections.timeout(question.method),
                )

    # --- what is believed of it -------------------------------------------------------------------

    def _answered(self) -> None:
        was_used = self.circuit.usable
        self.circuit.answered(self._loop.time())
        if not was_used:
            self._back()

    def _failed(self, began: float, error: UpstreamUnreachableError, method: str) -> None:
        told = isinstance(error, UpstreamNotReachedError | UpstreamSilentError)
        if told and not self._connections.taken(method):
            self._meter.inc(UPSTREAM_FAILURES, 1, self._label)
            self._fault(began, str(error), silent=isinstance(error, UpstreamSilentError))
        else:
            self._doubt(str(error))

    def _doubt(self, reason: str) -> None:
        """A request went wrong by the upstream's fault or by ours: the question tells which."""
        self._meter.inc(UPSTREAM_FAILURES, 1, self._label)
        if self.circuit.usable:
            self._question(self._settle(reason))

    def _fault(self, began: float, reason: str, *, silent: bool = False) -> None:
        was_used = self.circuit.usable
        self.circuit.failed(began, self._loop.time(), silent=silent)
        if was_used and not self.circuit.usable:
            log.warning("%s is not used for now: %s", self._url, reason)
            self._meter.inc(UPSTREAM_OPENINGS, 1, self._label)
            self._meter.set(UPSTREAM_UNUSED, 1, self._label)
            self._question(self._look())

    def _question(self, work: Coroutine[None, None, None]) -> None:
        """Begin to ask; who asks already goes on as long as the URL is not used."""
        if self._closed or (self._questioning is not None and not self._questioning.done()):
            work.close()
        else:
            self._questioning = asyncio.create_task(work, name=f"look at {self._url}")

    def _back(self) -> None:
        log.info("%s is used again", self._url)
        self._meter.set(UPSTREAM_UNUSED, 0, self._label)
        self._on_news()

    async def _settle(self, reason: str) -> None:
        """Ask once; who does not answer that either does not work."""
        began = self._loop.time()
        if not await self._works():
            self._fault(began, reason, silent=True)
        await self._look()

    async def _look(self) -> None:
        """Ask the question when it is due, until the URL is used again."""
        while not self.circuit.usable:
            if (seconds := self.news_seconds) > 0:
                self._hastened.clear()
                await _either(self._hastened, seconds)
                continue
            well = await self._works()
            was_used = self.circuit.usable
            self.circuit.asked(self._loop.time(), well=well)
            if not was_used and self.circuit.usable:
                self._back()
            self._on_news()

    async def _works(self) -> bool:
        try:
            with translated():
                async with asyncio.timeout(QUESTION_SECONDS):
                    response = await self._connections.unshared.get(
                        URL(self._url + QUESTION, encoded=True), allow_redirects=False
                    )
        except UpstreamUnreachableError:
            return False
        response.close()
        return response.status not in GATEWAY_STATUSES


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not for longer than this."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
