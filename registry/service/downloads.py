"""Gives out the data of an image, whole or one span of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from backends.base import ReadStream
from backends.location import Location
from backends.spans import Span
from registry.db.database import Database
from registry.db.images import get_image
from registry.domain import access
from registry.domain.errors import NoDataError, UnavailableError
from registry.domain.identity import Identity
from registry.domain.image import Image, ImageLocation
from registry.service.stores import Stores, translated

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Data:
    """The data of one image, which its caller may read.  `checksum` is the md5, in hex."""

    image_id: str
    size: int
    checksum: str | None
    locations: tuple[ImageLocation, ...]


class Downloads:
    """Downloads of image data."""

    def __init__(self, database: Database, stores: Stores) -> None:
        self._database = database
        self._stores = stores

    async def find(self, identity: Identity, image_id: str) -> Data:
        """Decide whether the caller may read the data, and say what there is of it."""
        image = await self._readable(identity, image_id)
        if image.size is None or not image.locations:
            raise NoDataError(f"Image {image_id} has no data.")
        return Data(image.id, image.size, image.checksum, image.locations)

    async def require_right(self, identity: Identity, image_id: str) -> None:
        """Refuse whom `find` would refuse; whether there is data does not matter."""
        await self._readable(identity, image_id)

    async def _readable(self, identity: Identity, image_id: str) -> Image:
        async with self._database.read() as connection:
            image = await get_image(connection, image_id)
        return access.require_readable(identity, image, image_id)

    @asynccontextmanager
    async def open(self, data: Data, span: Span) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a span of the data, at the first location that opens."""
        async with AsyncExitStack() as stack:
            stream = await self._first_stream(stack, data, span)
            yield await stack.enter_async_context(aclosing(_pieces(stream, len(span))))

    async def _first_stream(self, stack: AsyncExitStack, data: Data, span: Span) -> ReadStream:
        failure: NoDataError | UnavailableError = NoDataError(f"{data.image_id} has no data.")
        for place in data.locations:
            location = Location(place.url)
            try:
                with translated():
                    store = self._stores.holding(location)
                    stream = await stack.enter_async_context(store.read(location, span))
                if stream.size in {None, data.size}:
                    return stream
                failure = UnavailableError(
                    f"The store holds {stream.size} of {data.size} bytes of image {data.image_id}."
                )
                LOG.error("%s: %s", location, failure)
            except (NoDataError, UnavailableError) as error:
                LOG.warning("image %s: %s: %s", data.image_id, location, error)
                failure = error
        raise failure


async def _pieces(stream: ReadStream, length: int) -> AsyncGenerator[bytes, None]:
    """Hand on a stream; fewer or more bytes than `length` are an error, never a quiet end."""
    with translated():
        async for piece in stream:
            length -= len(piece)
            if length < 0:
                raise UnavailableError("The store sent more than it holds.")
            yield piece
    if length:
        raise UnavailableError(f"The store ended {length} bytes early.")
