"""Does the imports that were granted: jobs, which any instance takes up where another one died.

The record shows how far an import has come: a store that has the data is not written again.  The
job shows what was begun besides: whoever goes on, or ends the import, first removes what the dead
one may have left there, also where the image is gone.  The first store gets the data from its source
(`registry.service.intake`, as in an upload); the others get it from there, and it must be the same.

A failure ends the import: what it brought goes, the image is queued again (one that is copied stays
active).  With `all_stores_must_succeed` false, stores that fail are left out, while one remains.

Room in the quota of the project is reserved before the data comes, for all stores that must have it:
what comes into one is spent of it, and whoever goes on reserves anew what is still to come.

Only where the database is away it is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from registry.db.failures import TransientError
from registry.domain.errors import InvalidRequestError, RegistryError, UnavailableError
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.quota import Resource
from registry.fetching.reading import Source
from registry.imports.deliveries import Delivery
from registry.imports.news import ImportNews
from registry.imports.orders import Order
from registry.imports.records import ImportRecords, LostError
from registry.imports.sources import Ready, Sources
from registry.quotas.quotas import Quota, Quotas
from registry.service.checks import Checks
from registry.service.intake import Intake, Observer, is_of_store, may_leave
from registry.service.jobs import Job
from registry.service.leftovers import Leftovers
from registry.service.stores import Stores

LOG = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0  # between words about how far it is, which ask also whether anybody waits
DIED = "The import was given up: none of its attempts came to an end."


class _FailedError(Exception):
    """A store failed, or the source: with it all of them."""

    def __init__(self, reason: RegistryError, *stores: str | None) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.stores = stores


class Importer:
    """Handles the jobs of imports."""

    def __init__(  # noqa: PLR0913  # what it is made of
        self,
        records: ImportRecords,
        sources: Sources,
        stores: Stores,
        *,
        limits: Limits,
        intake: Intake,
        leftovers: Leftovers,
        checks: Checks,
        quotas: Quotas,
        news: ImportNews,
        ended: Callable[[str], None],
    ) -> None:
        self._records = records
        self._sources = sources
        self._stores = stores
        self._limits = limits
        self._intake = intake
        self._leftovers = leftovers
        self._checks = checks
        self._quotas = quotas
        self._news = news
        self._ended = ended  # told of each task that has ended

    async def work(self, job: Job) -> None:
        """Do an import: a `registry.service.jobs.Handler`."""
        order = Order.of(job)
        try:
            await self._work(order)
        except LostError as error:
            LOG.warning("import of image %s: %s", order.image_id, error)
        self._ended(order.task_id)

    async def settle(self, job: Job) -> None:
        """End an import that always dies: a `registry.service.jobs.Handler`."""
        order = Order.of(job)
        try:
            await self._records.begin(order)
            await self._clear_begun(order)
            await self._records.fail(order, DIED, order.stores)
        except LostError as error:
            await self._abandon(order, error)
        self._ended(order.task_id)

    async def _work(self, order: Order) -> None:
        try:
            quota = await self._quotas.of(order.identity)
            image = await self._records.begin(order)
            await self._clear_begun(order)  # of who died
            await self._bring_all(order, image, quota)
        except LostError as error:
            await self._abandon(order, error)
        except _FailedError as failure:
            LOG.warning("import of image %s failed: %s", order.image_id, failure)
            await self._clear_begun(order)
            await self._records.fail(order, str(failure), failure.stores or order.stores)
        else:
            await self._records.succeed(order)
            LOG.info("image %s is imported", order.image_id)

    async def _abandon(self, order: Order, error: LostError) -> None:
        """End an import whose image is gone, or another's."""
        LOG.warning("import of image %s: %s", order.image_id, error)
        await self._clear_begun(order)
        await self._records.fail(order, str(error), ())

    async def _bring_all(self, order: Order, image: Image, quota: Quota) -> None:
        missing = self._missing(order, image)
        async with AsyncExitStack() as stack:
            ready: Ready | None = None
            for remaining, store in zip(range(len(missing), 0, -1), missing, strict=True):
                if not image.locations and ready is None:
                    ready = await self._ready(stack, order, image)
                copies = remaining if order.must_succeed else 1
                try:
                    image = await self._bring(order, image, store, ready, quota, copies=copies)
                except _FailedError as failure:
                    if order.must_succeed or not failure.stores:
                        raise
                    LOG.warning("import of image %s: %s: %s", image.id, store, failure)
                    image = await self._records.skip(order, store)
        if not image.locations:
            raise _FailedError(InvalidRequestError("None of the uploads finished!"))

    def _missing(self, order: Order, image: Image) -> list[str | None]:
        """Return the stores that the data is still to come into."""
        if order.stores == (None,):
            return [] if image.locations else [None]
        there = {self._stores.name_of(place) for place in image.locations}
        return [store for store in order.stores if store not in there]

    async def _ready(self, stack: AsyncExitStack, order: Order, image: Image) -> Ready:
        try:
            ready = await stack.enter_async_context(self._sources.ready(order, image))
            described = ready.described(image, self._limits)
        except RegistryError as error:
            raise _FailedError(error) from error
        if described != image:
            self._news.changed(described)
        return ready

    async def _bring(  # noqa: PLR0913  # what goes where
        self,
        order: Order,
        image: Image,
        store: str | None,
        ready: Ready | None,
        quota: Quota,
        *,
        copies: int,
    ) -> Image:
        """Bring the data into one more store, the first of so many; return the image with it."""
        source = Ready(partial(self._sources.stored, image)) if image.locations else ready
        assert source is not None
        try:
            coming = source.described(image, self._limits)
        except RegistryError as error:
            raise _FailedError(error, store) from error
        try:
            target = self._stores.for_new_data(store)
            observers: Sequence[Observer] = ()
            if not image.locations:
                observers = await self._checks.of(order.identity, coming)
        except TransientError:  # the database is away
            raise
        except RegistryError as error:
            self._news.refused(coming, store, error)
            raise _FailedError(error, store) from error
        delivery = Delivery(
            self._records,
            order,
            image,
            store=store,
            target=target,
            source=source,
            activates=copies == 1,
        )
        try:
            async with _source(source.opened()) as opened:
                with self._news.coming(coming, store):
                    if opened.size is not None:
                        self._limits.require_size(opened.size)
                    room = await self._reserved(order, quota, copies, opened.size)
                    await self._intake.take(
                        *(target, image.id, opened.size, self._told(order, opened.body)),
                        observers=(*observers, *room),
                        ledger=delivery,
                    )
        except RegistryError as error:
            if isinstance(error, UnavailableError) and not is_of_store(error):  # the database
                raise
            if may_leave(error):
                await self._clear_begun(order)
            else:
                order.begun.clear()  # the store has taken it back
            which = () if delivery.is_refused else (store,)
            raise _FailedError(error, *which) from error
        self._news.came(coming, delivery.image)
        return delivery.image

    async def _reserved(
        self, order: Order, quota: Quota, copies: int, size: int | None
    ) -> Sequence[Observer]:
        """Reserve room for the data; return what has to see it, where its size is not known."""
        if quota.ceilings.are_infinite:
            return ()
        await self._records.reserve(order, quota, size, copies)
        return self._quotas.meter(quota, order.image_id, Resource.SIZE, size)

    async def _told(self, order: Order, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass the data on, and tell now and then how much it was."""
        loop = asyncio.get_running_loop()
        count, told_at = 0, loop.time()
        while True:
            try:
                piece = await anext(body, b"")
            except RegistryError as error:
                raise _FailedError(error) from error
            if not piece:
                return
            count += len(piece)
            yield piece
            if loop.time() - told_at > PROGRESS_SECONDS:
                told_at = loop.time()
                try:
                    await self._records.progress(order, count)
                except UnavailableError as error:
                    LOG.warning("import of image %s: %s", order.image_id, error)

    async def _clear_begun(self, order: Order) -> None:
        """Take away what no record names, for as long as the job is held."""
        if order.begun:
            await self._records.hold(order)
            for store in order.begun:
                await self._leftovers.take_away(store, order.image_id)
            await self._records.clear_begun(order)


@asynccontextmanager
async def _source(opened: AbstractAsyncContextManager[Source]) -> AsyncIterator[Source]:
    """Open the source, whose own failures are no store's."""
    async with AsyncExitStack() as stack:
        try:
            source = await stack.enter_async_context(opened)
        except RegistryError as error:
            raise _FailedError(error) from error
        yield source
