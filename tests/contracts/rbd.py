"""RBD stores under test, in the pool of a real Ceph, of which nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from backends import opening
from backends.location import Location
from backends.rbd.location import new_location
from backends.rbd.options import RbdOptions
from contracts.subject import PIECE, Subject, write
from harness.ceph import Ceph, require_bindings

if TYPE_CHECKING:  # where Python has no rbd, tests are skipped
    from backends.rbd.store import RbdStore

# What a pool has for itself once there was an image in it.
OF_THE_POOL = {"rbd_directory", "rbd_info", "rbd_children", "rbd_trash"}


def options_of(ceph: Ceph, **changed: Any) -> RbdOptions:
    """Return the options of a store with small pieces and objects."""
    chosen: dict[str, Any] = {
        "pool": ceph.pool,
        "configuration": ceph.configuration,
        "fsid": ceph.fsid,
        "chunk_bytes": PIECE,
        "piece_bytes": PIECE,
        "buffer_bytes": 4 * PIECE,
    }
    return RbdOptions(**(chosen | changed))


@asynccontextmanager
async def opened(options: RbdOptions) -> AsyncIterator[RbdStore]:
    require_bindings()
    store = cast("RbdStore", opening._driver(options))
    try:
        yield store
    finally:
        await store.aclose()


async def left_in(store: RbdStore) -> set[str]:
    """Return the names of all of Ceph's objects in the pool, images, trash and data."""
    async with store._cluster.visit("the pool") as visit:
        pool = visit.pool(store._options.pool)
        return await asyncio.to_thread(lambda: {each.key for each in pool.list_objects()}) - (
            OF_THE_POOL
        )


def location_of(ceph: Ceph, name: str) -> Location:
    return new_location(ceph.fsid, ceph.pool, name)


@asynccontextmanager
async def rbd_subject(ceph: Ceph, **changed: Any) -> AsyncIterator[Subject]:
    async with opened(options_of(ceph, **changed)) as store:
        missing = location_of(ceph, "absent")
        yield Subject(store, partial(write, store), partial(left_in, store), missing)
