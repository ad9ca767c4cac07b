"""Gives out the data of an image, whole or one span of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Self

from backends.base import FileStream, ReadStore, ReadStream, is_file
from backends.keptfile import KeptFile
from backends.location import Location
from backends.manifest import ManifestName, ManifestShape
from backends.spans import Span
from backends.verifying import Verified
from backends.wrapping import wrap
from registry.db.database import Database
from registry.db.manifests import get_pages
from registry.domain import access
from registry.domain.errors import NoDataError, RegistryError, UnavailableError
from registry.domain.identity import Identity
from registry.domain.image import Image, ImageLocation
from registry.domain.notices import SILENT, Notifier, sent_notice
from registry.service.digests import chunk_digest
from registry.service.records import Records
from registry.service.stores import Stores, translated

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Data:
    """The data of one image, which its caller may read.  `checksum` is the md5, in hex."""

    image_id: str
    size: int
    checksum: str | None
    locations: tuple[ImageLocation, ...]
    manifest: str | None = None  # its name, where it has one
    owner: str | None = None


class Downloads:
    """Downloads of image data; where `verify` is set, by their manifests if they have one."""

    def __init__(
        self,
        database: Database,
        stores: Stores,
        *,
        verify: bool = False,
        notifier: Notifier = SILENT,
        records: Records | None = None,
    ) -> None:
        self._database = database
        self._records = records or Records(database)
        self._stores = stores
        self._verify = verify
        self._notifier = notifier

    async def find(self, identity: Identity, image_id: str, prefer: Sequence[str] = ()) -> Data:
        """Decide whether the caller may read the data, and say what there is of it.

        It is read from the preferred stores, if they have it, then from the heaviest.
        """
        image = await self._readable(identity, image_id, prefer)
        return self.data_of(image, prefer)

    def data_of(self, image: Image, prefer: Sequence[str] = ()) -> Data:
        """Say what data there is of an image; `NoDataError` if there is none."""
        if image.size is None or not image.locations:
            raise NoDataError(f"Image {image.id} has no data.")
        locations = self._stores.in_order(image.locations, prefer)
        return Data(image.id, image.size, image.checksum, locations, image.os_manifest, image.owner)

    def sent(self, identity: Identity, data: Data, span: Span) -> None:
        """Tell others that the caller has got a span of the data."""
        receiver = (identity.project_id, identity.user_id)
        notice = sent_notice(data.image_id, data.owner, len(span), receiver)
        self._notifier.emit("image.send", notice)

    async def require_right(
        self, identity: Identity, image_id: str, prefer: Sequence[str] = ()
    ) -> None:
        """Refuse whom `find` would refuse; whether there is data does not matter."""
        await self._readable(identity, image_id, prefer)

    async def _readable(self, identity: Identity, image_id: str, prefer: Sequence[str]) -> Image:
        found = await self._records.get(image_id)
        image = access.require_readable(identity, found, image_id)
        if prefer:
            access.require_preference(identity, image)
            self._stores.require_preference(prefer)
        return image

    @asynccontextmanager
    async def open(self, data: Data, span: Span) -> AsyncIterator[Download]:
        """Open a span of the data, at the first location that opens."""
        download = Download(self._stores, data, span, self._verified(data))
        try:
            await download.begin()
            yield download
        finally:
            await download.aclose()

    def _verified(self, data: Data) -> Verified | None:
        """Return what holds the data against its manifest; None if it is not to be, or has none."""
        if not self._verify or data.manifest is None:
            return None

        async def page(number: int) -> bytes:
            wanted = range(number, number + 1)
            return await self._database.query(get_pages, data.image_id, wanted)

        name = ManifestName.parse(data.manifest)
        return Verified(ManifestShape(data.size, name.chunk_bytes), page, chunk_digest)


class Download:
    """One span of the data on its way: pieces to iterate over, or a file to send, in any order.

    Where a location fails, the next one goes on at the byte; the last one's failure is raised.
    """

    def __init__(
        self, stores: Stores, data: Data, span: Span, verified: Verified | None = None
    ) -> None:
        self._stores = stores
        self._verified = verified
        self._data = data
        self._left = span
        self._places = iter(data.locations)
        self._place = ""  # as it may be shown
        self._stack = AsyncExitStack()  # holds the one open read
        self._pieces: AsyncIterator[bytes] | None = None
        self._file: FileStream | None = None

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return len(self._left)

    async def begin(self) -> None:
        """Open what is left at the first location that opens."""
        await self._open(NoDataError(f"{self._data.image_id} has no data."))

    async def aclose(self) -> None:
        """Give back what is open."""
        self._pieces = self._file = None
        with translated():
            await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while self._pieces is not None and len(self._left):
            try:
                with translated():
                    piece = await anext(self._pieces, b"")
                if not piece:
                    raise UnavailableError(f"The store ended {self.left} bytes early.")
                if len(piece) > self.left:
                    raise UnavailableError("The store sent more than it holds.")
            except RegistryError as error:
                await self._fail(error)
            else:
                self._move(len(piece))
                return piece
        raise StopAsyncIteration

    def file(self) -> tuple[int, Span] | None:
        """Return what can be sent now, as `backends.base.FileStream` says; None if it is no file."""
        return None if self._file is None else self._file.file()

    def keep(self) -> KeptFile | None:
        """Return the open file, to be kept for other downloads of the data; None if it cannot be."""
        return None if self._file is None else self._file.keep()

    def sent(self, count: int) -> None:
        """Note that the next `count` bytes were taken from the file."""
        assert self._file is not None
        self._file.sent(count)
        self._move(count)

    def _move(self, count: int) -> None:
        self._left = Span(self._left.start + count, self._left.stop)

    async def _fail(self, failure: RegistryError) -> None:
        """Leave a location in the middle, for the next one; raise its failure if there is none."""
        LOG.error("image %s: %s: %s", self._data.image_id, self._place, failure)
        try:
            await self.aclose()
        except RegistryError as error:
            LOG.warning("image %s: %s: %s", self._data.image_id, self._place, error)
        await self._open(failure)

    async def _open(self, failure: RegistryError) -> None:
        for place in self._places:
            location = Location(place.url)
            self._place = str(location)
            try:
                with translated():
                    store = self._store(place)
                    stream = await self._stack.enter_async_context(store.read(location, self._left))
                self._take(stream)
            except RegistryError as error:
                LOG.warning("image %s: %s: %s", self._data.image_id, location, error)
                failure = error
                await self.aclose()
            else:
                return
        raise failure

    def _store(self, place: ImageLocation) -> ReadStore:
        store = self._stores.holding(place)
        return store if self._verified is None else wrap(store, self._verified)

    def _take(self, stream: ReadStream) -> None:
        if stream.size not in {None, self._data.size}:
            raise UnavailableError(
                f"The store holds {stream.size} of {self._data.size} bytes of image "
                f"{self._data.image_id}."
            )
        self._pieces = aiter(stream)
        self._file = stream if is_file(stream) else None
