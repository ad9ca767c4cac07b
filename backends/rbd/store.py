"""Glance's `rbd` store: one image of Ceph's block devices for each, with a protected snapshot.

Nova and Cinder clone that snapshot, so its name and the location's form are fixed.  Librados and
librbd block, or call back from threads of their own: `backends.rbd.cluster` has what tames them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from backends.base import Stat
from backends.errors import DeniedError
from backends.location import Location, checked_name
from backends.rbd.cluster import Cluster, Visit
from backends.rbd.image import OpenImage
from backends.rbd.images import OpenImages
from backends.rbd.leftovers import Leftovers, remove_all
from backends.rbd.location import Address, new_location
from backends.rbd.newimage import NewImage
from backends.rbd.options import RbdOptions
from backends.rbd.removal import remove, require_unused
from backends.rbd.stream import Allowance, RbdStream
from backends.rbd.writer import RbdWriter
from backends.spans import Span
from backends.tally import Tally

_ORDERS = range(12, 26)  # of objects' sizes, powers of two, that Ceph allows


class RbdStore:
    """A `PruneStore` in a pool.  ValueError for options that make no sense."""

    def __init__(self, options: RbdOptions) -> None:
        self._order = options.chunk_bytes.bit_length() - 1  # as Glance does: the next lower one
        if self._order not in _ORDERS:
            raise ValueError(f"Ceph has no objects of {options.chunk_bytes} bytes")
        if not options.pool or options.piece_bytes < 1 or options.answer_seconds < 1:
            raise ValueError("an RBD store needs a pool, pieces and time")
        self._options = options
        self._cluster = Cluster(options)
        self._images = OpenImages(self._cluster)
        self._leftovers = Leftovers(self._cluster, options.pool)
        self._allowance = Allowance(options.reads_ahead_bytes)

    def __repr__(self) -> str:
        return f"RbdStore({self._options.pool})"

    async def stat(self, location: Location) -> Stat:
        """Look at the image, which is open then."""
        async with self._opened(location) as (_, image):
            return Stat(image.size)

    @asynccontextmanager
    async def read(self, location: Location, span: Span | None = None) -> AsyncIterator[RbdStream]:
        """Read an image; MissingError if it is removed before all of it was read."""
        async with self._opened(location) as (visit, image):
            whole = Span(0, image.size)
            wanted = whole if span is None else span.clip(whole)
            stream = RbdStream(visit, image, wanted, self._options, self._allowance)
            try:
                yield stream
            finally:
                stream.close()

    @asynccontextmanager
    async def create(self, name: str, size: int | None = None) -> AsyncIterator[RbdWriter]:
        """Begin an image, under a name of its own."""
        pool = self._options.pool
        self._leftovers.look()
        async with self._cluster.visit(checked_name(name)) as visit:
            image = NewImage(visit, pool, name, self._order)
            await visit.run(partial(image.open, size or 0))
            location = new_location(visit.connection.fsid, pool, name)
            yield RbdWriter(visit, image, location, Tally(name, size), self._options)

    async def require_unused(self, location: Location) -> None:
        """Look for clones, and for somebody who writes."""
        async with self._visit(location) as (visit, address):
            pool = address.pool or self._options.pool
            await visit.run(lambda: require_unused(visit.pool(pool), address))

    async def delete(self, location: Location) -> None:
        """Delete an image; InUseError while it has clones, or somebody writes to it."""
        async with self._visit(location) as (visit, address):
            self._images.forget(visit, address)
            pool = address.pool or self._options.pool
            await visit.run(lambda: remove(visit.pool(pool), address, visit.lane.beat))

    async def clear(self, name: str) -> int:
        """Remove an image and the unfinished ones of that name; InUseError if one has a writer."""
        async with self._cluster.visit(checked_name(name)) as visit:
            return await visit.run(partial(remove_all, visit, self._options.pool, name))

    async def aclose(self) -> None:
        """Close what is open, and the connection."""
        await self._leftovers.aclose()
        await self._images.aclose()
        await self._cluster.aclose()

    @asynccontextmanager
    async def _visit(self, location: Location) -> AsyncIterator[tuple[Visit, Address]]:
        address = Address.of(location)
        async with self._cluster.visit(location) as visit:
            if address.fsid not in (None, visit.connection.fsid):
                raise DeniedError(f"{location}: is in another cluster")
            yield visit, address

    @asynccontextmanager
    async def _opened(self, location: Location) -> AsyncIterator[tuple[Visit, OpenImage]]:
        async with self._visit(location) as (visit, address):
            pool = address.pool or self._options.pool
            async with self._images.opened(visit, pool, address) as image:
                yield visit, image
