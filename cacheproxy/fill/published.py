"""Published manifests: fetched with a reader's credentials, each once for all who wait for it.

Rules

* Nothing is believed of `os_manifest` alone: any user may set it in front of a stock Glance.  An
  image is bound once the endpoint gave *this reader, for this image*, the very document that the
  record names; a catalog gives one only for data that it hashed itself.
* Whatever else happens (404, another digest, another size, silence) is a catalog that gives no
  manifest: it is counted, logged, not asked about that image for a while, and the content learnt.
* Pages come as readers get to them.  A page that cannot be had ends the reader that needs it,
  which goes round the cache; one that is wrong also ends the belief in that image's manifest.
* Where the right of a reader ends in the middle, pages come with the proxy's own account, if there
  is one.  A root never does: it is what shows that the image is this reader's, and which content.
* What is being fetched belongs to this object, not to the reader that caused it, and has a bound.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any

from backends.manifest import (
    PAGE_DIGESTS,
    REQUEST_PAGES_MAX,
    ManifestError,
    ManifestName,
    ManifestRoot,
    ManifestShape,
)
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import (
    FillFailedError,
    RightLostError,
    UpstreamAnswerError,
    UpstreamError,
    UpstreamLiesError,
)
from cacheproxy.fill.content import Content, Contents
from cacheproxy.fill.demand import Credential
from cacheproxy.fill.rights import Rights
from cacheproxy.fill.source import ManifestSource, OwnAccount
from cacheproxy.meter import Meter
from cacheproxy.metrics import MANIFESTS
from cacheproxy.store.digest import digest_of

log = logging.getLogger(__name__)

ROOT_SECONDS_MAX = 5.0  # how long readers wait for a root document before its image is learnt
PAGES_SECONDS_MAX = 10.0  # the same for one request for pages, at most 2 MiB
PAGES_ATTEMPTS_MAX = 4
BACKOFF_SECONDS = 0.1  # doubled after each attempt
DOUBT_SECONDS = 60.0  # how long an image is not asked about again
DOUBTS_MAX = 10_000
REFUSED = (401, 403)  # says something about the asker, not about the manifest


class Outcome(Enum):
    """What became of an attempt to use a manifest."""

    USED = auto()
    UNUSABLE = auto()
    REFUSED = auto()  # another reader's credentials may do


@dataclass(frozen=True, slots=True)
class _Errand:
    """Pages on their way, asked for as a reader of this image."""

    image_id: str
    task: asyncio.Task[None]


class PublishedManifests:
    """Brings roots and pages of published manifests; `close` it."""

    def __init__(
        self, contents: Contents, source: ManifestSource, account: OwnAccount, meter: Meter
    ) -> None:
        self._contents = contents
        self._source = source
        self._account = account
        self._meter = meter
        self._doubts: OrderedDict[str, float] = OrderedDict()  # by image, until when
        self._adopting: dict[str, asyncio.Task[Outcome]] = {}  # by image
        self._bringing: dict[tuple[str, int], _Errand] = {}  # by content and page
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<PublishedManifests {len(self._tasks)} on their way>"

    # --- roots ------------------------------------------------------------------------------------

    async def adopt(self, facts: ImageFacts, credential: Credential) -> bool:
        """Bind an image by the manifest that its record names; False if that cannot be."""
        mine = False
        while not mine and facts.manifest is not None and not self._doubted(facts.image_id):
            task = self._adopting.get(facts.image_id)
            if task is None or task.done():
                mine = True
                task = self._spawn(self._adopt(facts, facts.manifest, credential))
                self._adopting[facts.image_id] = task
                task.add_done_callback(partial(self._adopted, facts.image_id))
            outcome = await asyncio.shield(task)
            if outcome is not Outcome.REFUSED:
                return outcome is Outcome.USED
        return False

    def _adopted(self, image_id: str, task: asyncio.Task[Outcome]) -> None:
        if self._adopting.get(image_id) is task:
            del self._adopting[image_id]

    async def _adopt(self, facts: ImageFacts, text: str, credential: Credential) -> Outcome:
        result, why = "wrong", "equal content has another manifest already"
        try:
            name = ManifestName.parse(text)
            bytes_max = ManifestShape(facts.size, name.chunk_bytes).root_bytes
            async with asyncio.timeout(ROOT_SECONDS_MAX):
                document = await self._source.manifest(
                    credential.image_id, credential.headers, None, bytes_max
                )
            root = ManifestRoot.verify(document, name, facts.size, digest_of)
            if self._contents.publish(facts, name, root):
                self._meter.inc(MANIFESTS, 1, "used")
                return Outcome.USED
        except (ManifestError, UpstreamLiesError) as error:
            why = str(error)
        except UpstreamAnswerError as error:
            if error.status in REFUSED:
                return Outcome.REFUSED
            result, why = "none" if error.status < 500 else "failed", str(error)
        except (UpstreamError, TimeoutError) as error:
            result, why = "failed", str(error) or "it did not come in time"
        self._count(facts.image_id, result, why)
        self._doubt(facts.image_id)
        return Outcome.UNUSABLE

    def _doubted(self, image_id: str) -> bool:
        until = self._doubts.get(image_id)
        if until is None or time.monotonic() < until:
            return until is not None
        del self._doubts[image_id]
        return False

    def _count(self, image_id: str, result: str, why: str) -> None:
        self._meter.inc(MANIFESTS, 1, result)
        log.warning("the published manifest of %s cannot be used: %s", image_id, why)

    def _doubt(self, image_id: str) -> None:
        self._doubts[image_id] = time.monotonic() + DOUBT_SECONDS
        self._doubts.move_to_end(image_id)
        if len(self._doubts) > DOUBTS_MAX:
            self._doubts.popitem(last=False)

    # --- pages ------------------------------------------------------------------------------------

    async def know(self, content: Content, index: int, stop: int, credential: Credential) -> None:
        """Have the page that names chunk `index`; those up to chunk `stop` may come along.

        Raises `FillFailedError` if it is not to be had.
        """
        number = index // PAGE_DIGESTS
        while content.manifest.page(number) is None:
            errand = self._bringing.get((content.key, number))
            mine = errand is None or errand.task.done()
            if errand is None or mine:
                errand = self._begin(content, number, -(-stop // PAGE_DIGESTS), credential)
            try:
                await asyncio.shield(errand.task)
            except FillFailedError as error:
                other = errand.image_id != credential.image_id or isinstance(error, RightLostError)
                if mine or not other:
                    raise

    def _begin(self, content: Content, first: int, stop: int, credential: Credential) -> _Errand:
        """Fetch the run of absent pages that begins here, as much of it as one request may ask."""
        key, end = content.key, first + 1
        while (
            end < min(stop, first + REQUEST_PAGES_MAX)
            and (key, end) not in self._bringing
            and content.manifest.page(end) is None
        ):
            end += 1
        pages = range(first, end)
        task = self._spawn(self._bring(key, pages, credential))
        errand = _Errand(credential.image_id, task)
        self._bringing.update(((key, number), errand) for number in pages)
        task.add_done_callback(lambda _: self._brought(key, pages, errand))
        return errand

    def _brought(self, key: str, pages: range, errand: _Errand) -> None:
        for number in pages:
            if self._bringing.get((key, number)) is errand:
                del self._bringing[key, number]

    async def _bring(self, key: str, pages: range, credential: Credential) -> None:
        record = self._contents.store.content(key)
        root = None if record is None else self._contents.pages.root(key, record)
        if root is None:
            # Forgotten meanwhile, or a learnt one of which the index has lost a part, which nobody
            # else can give: the next reader learns it again.
            self._contents.pages.forget(key)
            raise FillFailedError("the manifest is not known any more")
        result, why = "failed", "it was not asked for"
        rights = Rights(self._account)
        rights.add(credential)
        for attempt in range(PAGES_ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(BACKOFF_SECONDS * 2**attempt)
            credential = await rights.choose([])
            try:
                body = await self._ask(root.shape, pages, credential)
                found = root.verify_pages(pages.start, len(pages), body, digest_of)
            except (ManifestError, UpstreamLiesError) as error:
                result, why = "wrong", str(error)
            except UpstreamAnswerError as error:
                if error.status in REFUSED:
                    rights.refuse(credential, error)
                    continue
                result, why = "none" if error.status < 500 else "failed", str(error)
            except (UpstreamError, TimeoutError) as error:
                result, why = "failed", str(error) or "it did not come in time"
            else:
                for number, packed in zip(pages, found, strict=True):
                    self._contents.pages.put(key, number, packed)
                return
            if result == "none":
                break
        self._count(credential.image_id, result, why)
        if result != "failed":
            self._doubt(credential.image_id)
            self._contents.store.forget_image(credential.image_id)
        raise FillFailedError(f"a page of the manifest is not to be had: {why}")

    async def _ask(self, shape: ManifestShape, pages: range, credential: Credential) -> bytes:
        bytes_max = sum(shape.page_bytes(number) for number in pages)
        async with asyncio.timeout(PAGES_SECONDS_MAX):
            return await self._source.manifest(
                credential.image_id, credential.headers, pages, bytes_max
            )

    # --- life -------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name="manifest")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to who waits; if nobody does any more, to nobody

    async def close(self) -> None:
        """Give up what is on its way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
