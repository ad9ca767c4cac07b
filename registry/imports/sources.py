"""Where the data of an import comes from, before any store has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from backends.location import Location
from backends.spans import Span
from registry.db.database import Connection, Database
from registry.db.jobs import add_job
from registry.domain.errors import NoDataError
from registry.domain.image import Image
from registry.domain.importing import DIRECT, GLANCE, WEB
from registry.domain.limits import Limits
from registry.fetching.filtering import UriFilter
from registry.fetching.reading import Source, reading
from registry.imports.brought import Brought
from registry.imports.glances import OtherGlances
from registry.imports.orders import Order
from registry.imports.staging import UNSTAGE, StagingArea, waiting
from registry.plugins.plugins import Plugins, Prepared
from registry.service.downloads import Data, Downloads
from registry.service.intake import take_in
from registry.service.reading import Patience
from registry.service.stores import Stores, translated

NOTHING = Brought()


@dataclass(frozen=True, slots=True)
class Ready:
    """Data that can be read, more than once; and what the image is to be told with it."""

    opened: Callable[[], AbstractAsyncContextManager[Source]]
    fields: Mapping[str, Any] = field(default_factory=dict)
    properties: Brought = NOTHING

    def described(self, image: Image, limits: Limits) -> Image:
        """Return the image as it will be with the data; what it is held against meanwhile."""
        return replace(self.properties.upon(image, limits), **self.fields)


class Sources:
    """Finds data."""

    def __init__(  # noqa: PLR0913  # one for each way of import
        self,
        database: Database,
        stores: Stores,
        *,
        area: StagingArea,
        limits: Limits,
        uri_filter: UriFilter,
        glances: OtherGlances,
        downloads: Downloads,
        plugins: Plugins,
    ) -> None:
        self._database = database
        self._stores = stores
        self._area = area
        self._limits = limits
        self._filter = uri_filter
        self._glances = glances
        self._downloads = downloads
        self._plugins = plugins

    @asynccontextmanager
    async def ready(self, order: Order, image: Image) -> AsyncIterator[Ready]:
        """Find the data that an order names, and do to it what is configured."""
        found = await self._find(order)
        found = replace(found, opened=partial(_patiently, found.opened))
        described = found.described(image, self._limits)
        roles = order.identity.roles
        if not self._plugins.touches_data:
            async with self._plugins.prepared(self._area.path(image.id), described, roles) as done:
                yield _held(image, _with(found, done), self._limits)
            return
        name = f"{image.id}.{order.task_id[:8]}"
        await self._database.change(self._owe, order, name)
        await self._area.clear(name, local=True)
        await self._fetch(found, name)
        async with self._plugins.prepared(self._area.path(name), described, roles) as done:
            opened = partial(self._staged, Location(f"file://{done.path}"), local=True)
            yield _held(image, replace(_with(found, done), opened=opened), self._limits)

    async def _owe(self, connection: Connection, order: Order, name: str) -> None:
        """Owe the removal of a file that is made here, when the import has ended."""
        await add_job(
            connection,
            UNSTAGE,
            image_id=order.image_id,
            arguments={"name": name, "local": True},
            host=self._area.local_host,
        )

    async def _fetch(self, found: Ready, name: str) -> None:
        """Bring the data into a file here, which plugins can work on."""
        store = await self._area.local()
        async with found.opened() as source:
            with translated():
                async with store.create(name, source.size) as writer:
                    await take_in(source.body, source.size, self._limits, writer, ())
                    await writer.commit()

    async def _find(self, order: Order) -> Ready:
        """Find the data that an order names; a `RegistryError` if there is none."""
        if order.method == WEB:
            return Ready(partial(reading, self._filter, str(order.arguments["uri"])))
        if order.method == GLANCE:
            remote = await self._glances.find(order.task_id, order.arguments)
            opened = partial(self._glances.data, order.task_id, remote)
            caller = self._glances.caller(order.task_id)
            return Ready(opened, remote.formats, Brought(caller, remote.properties))
        assert order.method == DIRECT, order.method
        owed = await self._database.query(waiting, order.image_id)
        if owed is None:
            raise NoDataError(f"Nothing is staged for image {order.image_id}.")
        return Ready(partial(self._staged, Location(str(owed.arguments["url"]))))

    @asynccontextmanager
    async def _staged(self, location: Location, *, local: bool = False) -> AsyncIterator[Source]:
        store = await (self._area.local() if local else self._area.store())
        with translated():
            size = (await store.stat(location)).size
            async with store.read(location) as stream:
                yield Source(size, aiter(stream))

    @asynccontextmanager
    async def stored(self, image: Image) -> AsyncIterator[Source]:
        """Open the data that an image has in some store already."""
        if image.size is None or not image.locations:
            raise NoDataError(f"Image {image.id} has no data.")
        places = self._stores.in_order(image.locations)
        data = Data(image.id, image.size, image.checksum, places, image.os_manifest)
        patience = Patience()
        async with AsyncExitStack() as stack:
            opening = stack.enter_async_context(self._downloads.open(data, Span(0, image.size)))
            yield Source(image.size, _pieces(await patience.wait(opening), patience))


def _with(found: Ready, done: Prepared) -> Ready:
    """Add what plugins tell."""
    properties = replace(found.properties, injected=done.properties)
    return replace(found, fields={**found.fields, **done.fields}, properties=properties)


def _held(image: Image, ready: Ready, limits: Limits) -> Ready:
    """Refuse what the image may not have before its data is moved."""
    ready.described(image, limits)
    return ready


@asynccontextmanager
async def _patiently(
    opened: Callable[[], AbstractAsyncContextManager[Source]],
) -> AsyncIterator[Source]:
    """Open data that has to come at a least rate: who names its source does not hold a slot by it."""
    patience = Patience()
    async with AsyncExitStack() as stack:
        source = await patience.wait(stack.enter_async_context(opened()))
        yield Source(source.size, _pieces(source.body, patience))


async def _pieces(body: AsyncIterator[bytes], patience: Patience) -> AsyncIterator[bytes]:
    while piece := await patience.piece(body):
        yield piece
