"""An image of RBD in the making, published whole under its name, or not at all.

It has a name of its own until then, so that an upload that was cut off is in nobody's way, and it
is open all the time, so that nobody takes it for one (`backends.rbd.leftovers`).  All calls but `write` block, and run one at a time:

    open → grow* → publish → keep → close      the image is there, with its protected snapshot
    open → grow* → publish →        close      it is withdrawn, unless its name is another's now
    open → grow* →                  close      nothing was ever there
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from typing import Any

import rados
import rbd

from backends.errors import DuplicateError, InUseError, UnavailableError
from backends.rbd.cluster import Visit
from backends.rbd.errors import CEPH_ERRORS, failure, number_of
from backends.rbd.flights import Flights
from backends.rbd.leftovers import temporary_name
from backends.rbd.location import SNAPSHOT
from backends.rbd.removal import has_image, remove_whole

_log = logging.getLogger(__name__)

_GROWTH_MAX = 8 << 30  # bytes
_DIRECTORY = "rbd_directory"  # of all images of a pool: whoever makes one writes to it
_TURN_SECONDS = 0.05  # between two tries to be the only one who publishes


class NewImage:
    """An image for one writer."""

    def __init__(self, visit: Visit, pool: str, name: str, order: int) -> None:
        self._visit = visit
        self._pool_name = pool
        self._name = name
        self._order = order
        self._temporary = temporary_name(name)
        self._pool: rados.Ioctx = None
        self._image: rbd.Image = None
        self._writes = Flights()
        self._id: str | None = None  # once it is open
        self._is_made = False  # or tried
        self._is_renamed = False  # or tried
        self._growth = 1 << order  # bytes, of the last time
        self._is_kept = False
        self.size = 0

    def open(self, size: int) -> None:
        """Make the image; DuplicateError if the name is taken already."""
        self._pool = self._visit.pool(self._pool_name)
        self._visit.opened.callback(self.close)
        if has_image(self._pool, self._name):
            raise DuplicateError(f"{self._name}: is there already")
        self._is_made = True
        rbd.RBD().create(
            self._pool,
            self._temporary,
            size,
            self._order,
            old_format=False,
            features=self._features(),
        )
        self._image = rbd.Image(self._pool, self._temporary)
        self._id = str(self._image.id())
        self.size = size

    def grow(self, needed: int) -> None:
        """Make room for so many bytes: twice as much more each time, as growing takes its time."""
        size = self.size
        while size < needed:
            self._growth = min(2 * self._growth, _GROWTH_MAX)
            size += self._growth
        self._image.resize(size)
        self.size = size

    def write(self, data: bytes, start: int, called: Any) -> None:
        """Begin to write; `data` must stay until that has ended."""
        self._writes.begin(partial(self._image.aio_write, data, start), called)

    def publish(self, size: int) -> None:
        """Give the image its size, its snapshot, and, last, its name."""
        if self.size != size:
            self._image.resize(size)
        self._image.create_snap(SNAPSHOT)
        self._image.protect_snap(SNAPSHOT)
        with _alone(self._pool, self._name, self._visit.hang_seconds):
            if has_image(self._pool, self._name):
                raise DuplicateError(f"{self._name}: is there already")
            self._is_renamed = True
            rbd.RBD().rename(self._pool, self._temporary, self._name)
        self._close_image()

    def keep(self) -> None:
        """Let the image stay: it is noted that it is there.  Does not block."""
        self._is_kept = True

    def close(self) -> None:
        """Give everything back; what was not kept is removed, or a `StoreError` if it has its name."""
        self._close_image()
        if self._is_kept or not self._is_made:
            return
        try:
            remove_whole(self._pool, self._temporary, self._id, self._visit.lane.beat)
        except (*CEPH_ERRORS, InUseError) as error:
            _log.warning("%s: left of an unfinished upload: %s", self._temporary, error)
        if self._is_renamed and self._id is not None:  # else what has the name is another's
            try:
                remove_whole(self._pool, self._name, self._id, self._visit.lane.beat)
            except CEPH_ERRORS as error:
                raise failure(self._name, number_of(error)) from error

    def _close_image(self) -> None:
        image, self._image = self._image, None
        if image is not None:
            self._writes.wait()
            image.close()

    def _features(self) -> int:
        """Return what the cluster gives to new images, and what clones need."""
        told = self._visit.connection.handle.conf_get("rbd_default_features") or "0"
        try:
            features = int(told)
        except ValueError:  # their names
            features = int(rbd.RBD().features_from_string(told))
        return features | int(rbd.RBD_FEATURE_LAYERING)


@contextmanager
def _alone(pool: rados.Ioctx, name: str, seconds: float) -> Iterator[None]:
    """Be the only one who publishes under a name: renaming an image looks first, then writes.

    Nobody else waits longer than `seconds` for one who died here.
    """
    lock = f"cacheproxy.{sha256(name.encode()).hexdigest()}"  # a name of any length
    cookie = secrets.token_hex(8)
    deadline = time.monotonic() + seconds
    while True:
        try:
            pool.lock_exclusive(_DIRECTORY, lock, cookie, duration=int(seconds))
            break
        except rados.ObjectBusy:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{name}: somebody else publishes it") from None
            time.sleep(_TURN_SECONDS)
    try:
        yield
    finally:
        with suppress(*CEPH_ERRORS):  # it ends by itself
            pool.unlock(_DIRECTORY, lock, cookie)
