"""Images of RBD that stay open for the next reader: to open one costs more than to read a megabyte.

They hold nobody up: for Ceph a reader does not use an image.  So it may be gone, or another one
of its name may be there, and each reader looks first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backends.rbd.cluster import Cluster, Visit
from backends.rbd.image import OpenImage
from backends.rbd.location import Address

KEPT_MAX = 16


class OpenImages:
    """Open images by their addresses, the last ones that were used; each counts its users.

    What nobody uses any more is closed with the visit of who used it last.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._kept: OrderedDict[Address, OpenImage] = OrderedDict()  # a user of each

    @asynccontextmanager
    async def opened(self, visit: Visit, pool: str, address: Address) -> AsyncIterator[OpenImage]:
        """Use an image; MissingError if it, or its snapshot, is not there."""
        image = await self._again(visit, address) or await self._anew(visit, pool, address)
        try:
            yield image
        finally:
            _leave(visit, image)

    def forget(self, visit: Visit, address: Address) -> None:
        """Keep an image no longer."""
        image = self._kept.pop(address, None)
        if image is not None:
            _leave(visit, image)

    async def aclose(self) -> None:
        """Keep no image; those in use are closed after that."""
        while self._kept:
            _, image = self._kept.popitem()
            image.users -= 1
            await self._cluster.finish(image.close_unused)

    async def _again(self, visit: Visit, address: Address) -> OpenImage | None:
        """Return an image that is open and still there, taken."""
        image = self._kept.get(address)
        if image is None:
            return None
        image.users += 1
        is_current = False
        try:
            is_current = image.connection is visit.connection and await visit.run(image.is_current)
        finally:
            if not is_current:
                if self._kept.get(address) is image:
                    self.forget(visit, address)
                _leave(visit, image)
        return image if is_current else None

    async def _anew(self, visit: Visit, pool: str, address: Address) -> OpenImage:
        """Return an image that was opened now, taken."""

        def opening() -> OpenImage:
            image = OpenImage(visit.connection, pool, address)
            visit.opened.callback(image.close_unused)  # where nobody waits for it any more
            return image

        image = await visit.run(opening)
        image.users += 1
        if image.version is not None:  # it does not change
            self.forget(visit, address)
            self._kept[address] = image
            image.users += 1
            if len(self._kept) > KEPT_MAX:
                self.forget(visit, next(iter(self._kept)))
        return image


def _leave(visit: Visit, image: OpenImage) -> None:
    image.users -= 1
    if not image.users:
        visit.opened.callback(image.close_unused)
