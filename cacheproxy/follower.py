"""Learns from the upstream which images are gone, although nobody asks for them any more.

A catalog of cacheproxy has a feed of changes: it is followed, from where the last keeper stopped.
Any other Glance is asked now and then, image by image, with the proxy's own account.

"Gone" is said only by an upstream that works: it has just listed images for the same credentials,
and had shown this very image to them before.  What a caller is answered says nothing here: an image
that is not his is not gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from urllib.parse import quote, urlencode

import msgspec

from cacheproxy.account import Account
from cacheproxy.core.facts import image_facts, same_image
from cacheproxy.core.records import FeedPosition, ImageRecord
from cacheproxy.errors import AccountError, StorageError, UpstreamAnswerError, UpstreamError
from cacheproxy.fill.content import facts_of
from cacheproxy.fill.gone import GoneImages
from cacheproxy.headers import Headers
from cacheproxy.meter import Meter
from cacheproxy.metrics import IMAGE_CHECKS
from cacheproxy.store.recordbook import RecordBook
from cacheproxy.upstream import Answer

log = logging.getLogger(__name__)

ANSWER_BYTES_MAX = 4 << 20
DELETED = "deleted"  # the one kind of change that matters here
CHANGES_MAX = 500  # taken at once
LISTEN_SECONDS = 30  # the catalog answers after so long at the latest, also when nothing changed
FAILURE_SECONDS = 30.0  # before an upstream that failed is asked again
FEED_RETRY_SECONDS = 3600.0  # before an upstream without a feed is asked for one again
QUESTION_PAUSE_SECONDS = 0.2  # between two questions of a round
FAILURES_MAX = 3  # images in a row that are not shown, and the upstream counts as failing
GONE_MAX = 256  # forgotten at once
SPREAD = 0.2  # the nodes of a cloud do not ask all at the same time


class Change(msgspec.Struct, frozen=True):
    """One change of an image, as the feed tells it."""

    seq: int
    image_id: str
    change: str


class Changes(msgspec.Struct, frozen=True):
    """A page of the feed; `last` is the end of it all."""

    last: int
    epoch: str
    changes: list[Change] = []


class Upstream(Protocol):
    """What this needs of the upstream client."""

    def exchange(
        self, method: str, target: str, headers: Headers
    ) -> AbstractAsyncContextManager[Answer]:
        """Send one request and give its answer."""


class _NoFeedError(Exception):
    """The upstream has no feed for us."""


class Follower:
    """Follows one upstream; `run` is its life."""

    def __init__(  # noqa: PLR0913  all of them are collaborators
        self,
        upstream: Upstream,
        account: Account,
        book: RecordBook,
        gone: GoneImages,
        *,
        poll_seconds: float,
        read_timeout_seconds: float,
        on_change: Callable[[str], object],
        meter: Meter,
    ) -> None:
        """`on_change` is called with each image of which the catalog tells a change."""
        self._upstream = upstream
        self._account = account
        self._book = book
        self._gone = gone
        self._on_change = on_change
        self._meter = meter
        self._poll_seconds = poll_seconds
        # An answer that waits for longer than the client listens never comes.
        self._listen_seconds = max(1, min(LISTEN_SECONDS, int(read_timeout_seconds / 2)))
        self._look_at = 0.0  # when the next look at all images is due

    async def run(self) -> None:
        """Follow the feed where there is one, else look now and then; until cancelled."""
        while True:
            try:
                with contextlib.suppress(_NoFeedError):
                    await self._follow()
                await self._poll()
            except (UpstreamError, AccountError, StorageError) as error:
                log.info("changes of images cannot be learnt for now: %s", error)
                await asyncio.sleep(FAILURE_SECONDS)

    # --- a catalog with a feed --------------------------------------------------------------------

    async def _follow(self) -> None:
        position = self._book.feed_position()
        while True:
            query: dict[str, str | int] = {}
            if position is not None:
                query = {
                    "after": position.seq,
                    "epoch": position.epoch,
                    "limit": CHANGES_MAX,
                    "wait": self._listen_seconds,
                }
            status, body = await self._ask(f"/v2/cacheproxy/changes?{urlencode(query)}")
            if status == 410 and position is not None:
                position = None  # it does not reach back so far: begin where it stands
                continue
            if status != 200:
                if status >= 500:
                    raise UpstreamAnswerError(status, "no feed of changes")
                raise _NoFeedError
            page = _decoded(body)
            if position is None:
                # Whatever happened before this is not told: all images are looked at once.
                await self._look()
                position = FeedPosition(page.epoch, page.last)
            else:
                for change in page.changes:
                    self._on_change(change.image_id)
                await self._forget(c.image_id for c in page.changes if c.change == DELETED)
                seq = page.changes[-1].seq if page.changes else position.seq
                position = FeedPosition(page.epoch, seq)
            self._book.put_feed_position(position)

    # --- any other Glance -------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Look at all images when it is time, and wait for the next one, or to ask for a feed again."""
        pause = FEED_RETRY_SECONDS
        if self._account.configured and self._poll_seconds:
            if time.monotonic() >= self._look_at:
                await self._look()
                self._look_at = time.monotonic() + self._poll_seconds
            pause = min(pause, max(0.0, self._look_at - time.monotonic()))
        await asyncio.sleep(pause * random.uniform(1, 1 + SPREAD))  # noqa: S311 -- no secret

    async def _look(self) -> None:
        """Ask for each image that is known here."""
        status, _ = await self._ask("/v2/images?limit=1")
        if status != 200:
            raise UpstreamAnswerError(status, "images are not listed for the proxy's own account")
        gone: set[str] = set()
        failures = 0  # in a row
        async for image_id, _ in self._book.images():
            status, body = await self._ask(f"/v2/images/{quote(image_id, safe='')}")
            failures = failures + 1 if status >= 500 else 0
            if failures == FAILURES_MAX:
                raise UpstreamAnswerError(status, "images are not shown")
            record = self._book.image(image_id)  # it may have changed while the upstream was asked
            if record is not None and status == 200 and not record.seen:
                self._book.put_image(image_id, msgspec.structs.replace(record, seen=True))
            elif record is not None and status == 404 and record.seen:
                gone.add(image_id)
            if record is not None and status == 200 and _replaced(image_id, record, body):
                gone.add(image_id)
            if len(gone) >= GONE_MAX:
                await self._forget(gone)
                gone.clear()
            self._meter.inc(IMAGE_CHECKS)
            await asyncio.sleep(QUESTION_PAUSE_SECONDS)
        await self._forget(gone)

    async def _forget(self, image_ids: Iterable[str]) -> None:
        """Have images forgotten; those that are being filled just now a little later."""
        self._gone.tell(await self._gone.forget(set(image_ids)))

    async def _ask(self, target: str) -> tuple[int, bytes]:
        """Ask with the proxy's own account, where there is one; a refused token is replaced once."""
        for again in (True, False):
            headers: Headers = await self._account.headers() if self._account.configured else []
            status, body = await self._exchange(target, headers)
            if status == 401 and self._account.configured and again:
                self._account.refused(headers)
                continue
            return status, body
        raise AssertionError("the second answer is returned")

    async def _exchange(self, target: str, headers: Headers) -> tuple[int, bytes]:
        async with self._upstream.exchange("GET", target, headers) as answer:
            body = bytearray()
            while piece := await answer.piece():
                body += piece
                if len(body) > ANSWER_BYTES_MAX:
                    raise UpstreamAnswerError(answer.status, "a longer answer than any of these")
            return answer.status, bytes(body)


def _replaced(image_id: str, record: ImageRecord, body: bytes) -> bool:
    """Whether an id is used again: what is shown is an image, and not the one that is known."""
    try:
        shown = image_facts(image_id, msgspec.json.decode(body))
    except msgspec.DecodeError:
        return False
    return shown is not None and not same_image(facts_of(image_id, record), shown)


def _decoded(body: bytes) -> Changes:
    try:
        return msgspec.json.decode(body, type=Changes)
    except msgspec.MsgspecError:
        raise _NoFeedError from None  # somebody else's page under that name
