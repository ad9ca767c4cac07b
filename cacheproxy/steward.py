"""The use case of an administrator who manages a node's cache through Glance's own interface.

Glance's words are kept, and mean here:

* *cached*: every chunk of the image is there, and its bytes were found right.  What is there in
  part is not told of, but goes with `delete` and `clear` like the rest.
* *queued*: waits to be brought in, or is being brought in.
* *delete*: the chunks that no other image has go.  A pinned image stays: an operator of the node
  has promised that.
* *clean*: records and chunks that nobody needs, and what was set aside as damaged, go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Collection

from cacheproxy import cacheorders as orders
from cacheproxy.cacheorders import CachedImage
from cacheproxy.errors import StorageError
from cacheproxy.hits import Hits
from cacheproxy.inspection import Inspection, Known, OperationError
from cacheproxy.operations import Operations, OwnAccount
from cacheproxy.prefetchqueue import PrefetchQueue
from cacheproxy.store.chunkstore import ChunkStore
from cacheproxy.watch import Watch

ROWS = 64  # images told of at once
LISTED_MAX = 10_000  # images told of at all: what the link to a worker may have to hold

log = logging.getLogger(__name__)


class Steward:
    """Obeys; used on the keeper's loop, `run` is its life."""

    def __init__(self, operations: Operations, store: ChunkStore, account: OwnAccount) -> None:
        self.hits = Hits(store)
        self._operations = operations
        self._store = store
        self._account = account
        self._queue = PrefetchQueue(self._bring)
        # Two at once would each keep what the other one's images still list.
        self._dropping = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Steward {self._queue!r} {self.hits!r}>"

    @property
    def _inspection(self) -> Inspection:
        return self._operations.inspection

    async def run(self) -> None:
        """Bring in what is queued, and keep the counts; runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            _ = group.create_task(self._queue.run(), name="prefetch queue")
            _ = group.create_task(self.hits.run(), name="hits")

    async def obey(
        self, order: orders.AnyOrder, tell: Callable[[orders.Rows], None]
    ) -> orders.Ending:
        """Do what is ordered; what there is to list is told meanwhile."""
        try:
            return await self._obey(order, tell)
        except StorageError as error:
            log.warning("%s: the cache's disk failed: %s", type(order).__name__, error)
            return orders.Failed()

    async def _obey(
        self, order: orders.AnyOrder, tell: Callable[[orders.Rows], None]
    ) -> orders.Ending:
        match order:
            case orders.ListImages():
                await self._list(tell)
            case orders.QueueImage():
                log.info("image %s is queued", order.image_id)
                taken = self._queue.add(order.image_id, order.token)
                return orders.Done() if taken else orders.Full()
            case orders.DeleteImage():
                return await self._delete(order.image_id)
            case orders.ClearImages():
                await self._clear(order)
            case orders.CleanUp():
                cleaned = await self._operations.gc()
                log.info("cleaned up: %s", cleaned)
        return orders.Done()

    # --- list -------------------------------------------------------------------------------------

    async def _list(self, tell: Callable[[orders.Rows], None]) -> None:
        cached: list[CachedImage] = []
        count = 0
        async with contextlib.aclosing(self._cached()) as images:
            async for image in images:
                cached.append(image)
                count += 1
                if len(cached) == ROWS:
                    tell(orders.Rows(cached, []))
                    cached = []
                if count == LISTED_MAX:
                    log.warning("not all images are listed: more than %d are cached", LISTED_MAX)
                    break
        tell(orders.Rows(cached, []))
        queued = self._queue.images()
        for start in range(0, len(queued), ROWS):
            tell(orders.Rows([], queued[start : start + ROWS]))

    async def _cached(self) -> AsyncGenerator[CachedImage]:
        async for image_id, record in self._store.images():
            content = self._store.content(record.content)
            if content is None or not content.proven:
                continue
            known = Known.recorded(image_id, record.content, content)
            if await self._inspection.complete(known):
                use = self.hits.of(image_id, record)
                yield CachedImage(image_id, record.size, use.hits, use.last, record.bound_at)

    # --- queue ------------------------------------------------------------------------------------

    async def _bring(self, image_id: str, token: str | None) -> None:
        """Bring an image in; with the proxy's own account, if it has one, when the token fails."""
        error = await self._prefetch(image_id, token)
        if error is not None and token is not None and self._account.configured:
            log.info("image %s did not come (%s): the proxy's own account asks", image_id, error)
            error = await self._prefetch(image_id, None)
        if error is None:
            log.info("image %s, which was queued, is cached", image_id)
        else:
            log.warning("image %s, which was queued, did not come: %s", image_id, error)

    async def _prefetch(self, image_id: str, token: str | None) -> str | None:
        (image,) = (await self._operations.prefetch([image_id], token, Watch())).images
        return image.error

    # --- delete -----------------------------------------------------------------------------------

    async def _delete(self, image_id: str) -> orders.Ending:
        queued = self._queue.remove(image_id)
        if await self._absent(image_id):
            return orders.Done() if queued else orders.NotCached()
        (evicted,) = await self._evict([image_id])
        if evicted is None or queued:  # what of it is on its way comes all the same
            return orders.Done()
        return orders.Refused(evicted)

    async def _absent(self, image_id: str) -> bool:
        try:
            known = self._inspection.known(image_id)
        except OperationError:
            return True
        return (await self._inspection.chunk_map(known)).present == 0

    async def _clear(self, order: orders.ClearImages) -> None:
        if order.queued:
            self._queue.clear()
        if order.cached:
            image_ids = [known.image_id async for known in self._inspection.all_known()]
            stayed = [why for why in await self._evict(image_ids) if why is not None]
            log.info("%d images are cleared, %d stay", len(image_ids) - len(stayed), len(stayed))

    async def _evict(self, image_ids: Collection[str]) -> list[str | None]:
        """Drop images' chunks; tells of each why it stays, None: it does not."""
        async with self._dropping:
            result = await self._operations.evict(list(image_ids), content=False)
        self.hits.forget(image.image for image in result.images if image.error is None)
        return [image.error for image in result.images]
