"""Where the data of images is: asked of the upstream, believed for a minute.

There are two ways to ask, and a Glance shows locations by neither unless it is told to:

*   the locations API, with the proxy's own account (policy `fetch_image_location`);
*   the image's own record, with the reader's credentials (`show_multiple_locations`,
    `show_image_direct_url`).

Rules

1.  The first way is tried first.  Whatever it says but a list is not about the reader.
2.  What the record's answer refuses to the reader is refused to him: his right has ended.
3.  Silence is no refusal.  What was told before counts on, for `SILENT_SECONDS` at most: the reader
    was allowed to download the image when he asked.
4.  A way that has shown nothing `MISSES_MAX` times in a row, and nothing at all for an hour, is left
    alone for `WAY_SECONDS`.  So a Glance that shows no locations is hardly asked for any.
5.  Locations may hold credentials of stores: they are in this process's memory only.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cacheproxy.core.judgement import LOWEST_FAILURE, REFUSALS
from cacheproxy.errors import AccountError, UpstreamAnswerError, UpstreamError
from cacheproxy.fill.source import OwnAccount
from cacheproxy.headers import Headers, end_to_end
from cacheproxy.imagerecord import Place, location_list, shown_locations
from cacheproxy.meter import Meter
from cacheproxy.metrics import LOCATION_QUESTIONS
from cacheproxy.upstream import Upstream

BELIEVED_SECONDS = 60.0  # what was told
SILENT_SECONDS = 3600.0  # the same, while the upstream tells nothing
STANDSTILL_SECONDS = 30.0  # that nobody waits again after one has waited in vain
MISSES_MAX = 3
WAY_SECONDS = 300.0
PROVED_SECONDS = 3600.0  # how long a way that has shown a location is asked again and again
ENTRIES_MAX = 1024

ASK_SECONDS = 10.0  # for an answer; the upstream's own data can be asked for instead
ASK_AGAIN_SECONDS = 3.0  # the same, where it has told before

log = logging.getLogger(__name__)


class Way:
    """What is known of one way to ask."""

    def __init__(self) -> None:
        self._misses = 0
        self._left_alone_until = -math.inf
        self._proved_until = -math.inf

    def __repr__(self) -> str:
        return f"<Way {self._misses} misses>"

    def open(self, now: float) -> bool:
        """Whether it is worth a question."""
        return now >= self._left_alone_until

    def showed(self, now: float, places: tuple[Place, ...]) -> None:
        """It has answered, with locations or without."""
        if places:
            self._misses, self._proved_until = 0, now + PROVED_SECONDS
            return
        self._misses += 1
        if self._misses >= MISSES_MAX and now >= self._proved_until:
            self._left_alone_until = now + WAY_SECONDS


@dataclass(frozen=True, slots=True)
class _Known:
    image_id: str
    places: tuple[Place, ...]
    told_at: float


class Locations:
    """Asks one upstream; used on one loop."""

    def __init__(
        self,
        upstream: Upstream,
        account: OwnAccount,
        meter: Meter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._account = account
        self._meter = meter
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._api, self._record = Way(), Way()
        self._ask_at = -math.inf
        self._is_told = False  # that the upstream shows nothing
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Locations {len(self._known)} known>"

    async def of(self, image_id: str, headers: Headers) -> tuple[Place, ...]:
        """Return where an image is, to a reader with these headers; empty: nobody says.

        `UpstreamAnswerError` if the upstream refuses him the image.
        """
        key, now = self._key(image_id, headers), self._clock()
        known = self._known.get(key)
        if known is not None and now < known.told_at + BELIEVED_SECONDS:
            return known.places
        places: tuple[Place, ...] | None = None
        patience = ASK_SECONDS if known is None else ASK_AGAIN_SECONDS
        try:
            if now >= self._ask_at:
                async with asyncio.timeout(patience):
                    places = await self._ask(image_id, headers, now)
        except TimeoutError:
            self._ask_at = self._clock() + STANDSTILL_SECONDS
        except UpstreamAnswerError:
            self._known.pop(key, None)
            raise
        if places is None:
            lasts = known is not None and now < known.told_at + SILENT_SECONDS
            return known.places if known is not None and lasts else ()
        self._known[key] = _Known(image_id, places, now)
        self._known.move_to_end(key)
        if len(self._known) > ENTRIES_MAX:
            self._known.popitem(last=False)
        return places

    def forget(self, image_id: str) -> None:
        """It is not where it was told to be: ask anew."""
        for key in [key for key, known in self._known.items() if known.image_id == image_id]:
            del self._known[key]

    async def _ask(self, image_id: str, headers: Headers, now: float) -> tuple[Place, ...] | None:
        """Ask by both ways; None: silence."""
        if self._account.configured and self._api.open(now):
            places = await self._ask_api(image_id, now)
            if places is None or places:
                return places
        if not self._record.open(now):
            return ()
        self._meter.inc(LOCATION_QUESTIONS)
        try:
            places = await shown_locations(self._upstream, image_id, end_to_end(headers))
        except UpstreamAnswerError as error:
            if error.status in REFUSALS:
                raise
            return None
        except UpstreamError:
            return None
        self._record.showed(now, places)
        self._tell(now)
        return places

    def _tell(self, now: float) -> None:
        """Say it once if the upstream shows no locations by any way."""
        ways = [self._record, *([self._api] if self._account.configured else [])]
        if not (self._is_told or any(way.open(now) for way in ways)):
            self._is_told = True
            log.warning(
                "the upstream has not told where images are: until it does, the stores of [stores]"
                " are not read; docs/direct-reads.md says what it needs"
            )

    async def _ask_api(self, image_id: str, now: float) -> tuple[Place, ...] | None:
        try:
            headers = await self._account.headers()
        except AccountError as error:
            log.info("no locations with the proxy's own account: %s", error)
            return ()
        self._meter.inc(LOCATION_QUESTIONS)
        try:
            places = await location_list(self._upstream, image_id, headers)
        except UpstreamAnswerError as error:
            if error.status == 401:
                self._account.refused(headers)
            if error.status >= LOWEST_FAILURE:
                return None
            self._api.showed(now, ())  # not for this account, not of this image, or no such API
            return ()
        except UpstreamError:
            return None
        self._api.showed(now, places)
        return places

    def _key(self, image_id: str, headers: Headers) -> bytes:
        parts = [image_id, *(part for field in sorted(end_to_end(headers)) for part in field)]
        encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
        text = b"".join(b"%d:%b" % (len(part), part) for part in encoded)
        return hmac.digest(self._secret, text, "sha256")
