"""An image of RBD that is open for reading, by one reader or several.

What an image has no object for reads as zeros.  So does what another client has removed
meanwhile: librbd does not tell the two apart.  So where a whole object of zeros was read, or where
the image has a parent that would show through, it must be looked whether what is read still exists.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise

import rados
import rbd

from backends.rbd.cluster import Connection
from backends.rbd.flights import Flights
from backends.rbd.location import Address
from backends.spans import Span

_STRING_AT = 4  # of an encoded string, after its length


class OpenImage:
    """An image, or a snapshot of it.  All of it may be called in any thread.

    `is_there` and `is_current` ask the cluster; they, opening and closing block.
    """

    def __init__(self, connection: Connection, pool: str, address: Address) -> None:
        self.connection = connection
        self.address = address
        self.users = 0  # counted by `OpenImages`, on its loop
        self.version: str | None = None  # of a snapshot, which does not change
        self._closing = threading.Lock()
        self._reads = Flights()
        with ExitStack() as opened:
            connection.take()
            opened.callback(connection.give_back)
            self._pool: rados.Ioctx = connection.handle.open_ioctx(pool)
            opened.callback(self._pool.close)
            self._image = rbd.Image(
                self._pool, address.image, snapshot=address.snapshot, read_only=True
            )
            opened.callback(self._image.close)
            opened.callback(self._reads.wait)
            self._examine()
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close it, when what librbd reads has been read; idempotent."""
        with self._closing:
            self._opened.close()

    def close_unused(self) -> None:
        """Close it, unless somebody uses it."""
        if not self.users:
            self.close()

    def read(self, span: Span, called: Callable[..., None]) -> None:
        """Begin to read.  Does not block."""
        self._reads.begin(partial(self._image.aio_read, span.start, len(span)), called)

    def is_doubtful(self, start: int, data: bytes) -> bool:
        """Tell whether an object may be missing in what was read from `start` on."""
        if self._has_parent:
            return True
        unit = self._object_bytes
        cuts = [0, *range(unit - start % unit, len(data), unit), len(data)]
        return any(_is_zero(data, *pair) for pair in pairwise(cuts))

    def is_there(self) -> bool:
        """Ask whether what is open here exists, if only in the trash.

        The first format of images, of before 2013, does not tell.
        """
        return self._snapshot_name() is not None

    def is_current(self) -> bool:
        """Ask whether the snapshot is still what its image has under that name."""
        return self._snapshot_name() == self.address.snapshot

    def _examine(self) -> None:
        image = self._image
        self.size = int(image.size())
        self._header = ""
        self._snapshot: int | None = None
        if not image.old_format():
            self._header = f"rbd_header.{image.id()}"
        if self._header and self.address.snapshot is not None:
            self._snapshot = int(image.snap_get_id(self.address.snapshot))
            self.version = f"{image.id()}@{self._snapshot}"
        self._object_bytes = int(image.stripe_unit())
        try:
            image.parent_info()
            self._has_parent = True
        except rbd.ImageNotFound:
            self._has_parent = False

    def _snapshot_name(self) -> str | None:
        """Return the snapshot's name, empty where it has none; None where nothing is there."""
        try:
            if self._snapshot is not None:
                packed = struct.pack("<Q", self._snapshot)
                _, told = self._pool.execute(self._header, "rbd", "get_snapshot_name", packed)
                return str(told[_STRING_AT:], errors="replace")
            if self._header:
                self._pool.stat(self._header)
        except rados.ObjectNotFound:
            return None
        return ""


def _is_zero(data: bytes, start: int, stop: int) -> bool:
    if start == stop or data[start] or data[stop - 1]:
        return False
    return data[start:stop] == bytes(stop - start)
