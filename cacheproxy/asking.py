"""Which question the upstream is asked: our catalog's exact one, or the one that any Glance answers.

Nobody configures which it is.  Only our catalog answers 204 to the right question (a stock Glance
knows no such path), so one yes settles it.  Rules:

1. Unknown upstream: its right is tried now and then; whatever but 204 comes back proves nothing, and
   the range question decides.
2. A catalog is asked for the right alone.  A 404 may also mean that a Glance has taken its place, so
   the range question is asked too, whoever wants whichever image: not yours and not there cost the
   same.  A yes of a Glance ends the belief in the catalog.
3. A range's 416 of somebody in between (a cache, or our catalog, which names the size) is no word of
   the upstream on this caller: the right is tried once more, else the client's own request goes
   through, and whoever stands in between judges it himself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from cacheproxy.core.judgement import Verdict, Word, judge_range, judge_right
from cacheproxy.headers import Headers

RIGHT_RETRY_SECONDS = 60.0  # between two looks whether an upstream has become a catalog
WARNING_SECONDS = 600.0  # between two complaints about what stands in between

log = logging.getLogger(__name__)


class Upstream(Protocol):
    """What this needs of the upstream client; None: no answer."""

    async def may_download(self, image_id: str, headers: Headers, query: str = "") -> Word | None:
        """Ask for a range that no image can satisfy."""

    async def download_right(self, image_id: str, headers: Headers, query: str = "") -> Word | None:
        """Ask our catalog's own question."""


class Asking:
    """Asks one upstream, and remembers what it is."""

    def __init__(self, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        self._upstream = upstream
        self._clock = clock
        self._exact = False  # it is our catalog
        self._try_at = 0.0  # when the right is worth a try, where it is not known to be one
        self._warn_at = 0.0

    def __repr__(self) -> str:
        return f"Asking({'the right' if self._exact else 'a range'})"

    async def may_download(self, image_id: str, headers: Headers, query: str = "") -> Verdict:
        """Tell what the upstream says to the sender of these headers now."""
        exact = self._exact
        tried = exact or self._clock() >= self._try_at
        if tried:
            verdict = await self._ask_right(image_id, headers, query)
            if verdict is Verdict.ALLOWED or (exact and verdict is not Verdict.UNCLEAR):
                return verdict
        verdict = judge_range(await self._upstream.may_download(image_id, headers, query))
        if exact and verdict is not Verdict.REFUSED:
            self._exact = False
        if verdict is not Verdict.FOREIGN:
            return verdict
        if not tried and await self._ask_right(image_id, headers, query) is Verdict.ALLOWED:
            return Verdict.ALLOWED
        self._warn()
        return verdict

    async def _ask_right(self, image_id: str, headers: Headers, query: str) -> Verdict:
        self._try_at = self._clock() + RIGHT_RETRY_SECONDS
        verdict = judge_right(await self._upstream.download_right(image_id, headers, query))
        if verdict is Verdict.ALLOWED:
            self._exact = True
        return verdict

    def _warn(self) -> None:
        now = self._clock()
        if now >= self._warn_at:
            self._warn_at = now + WARNING_SECONDS
            log.warning(
                "something between the upstream and this proxy answers ranges by itself: who may "
                "download cannot be asked, and images are passed through uncached"
            )
