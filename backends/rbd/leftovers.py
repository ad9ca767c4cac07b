"""Images that were never finished, since their process or their Ceph died: found, and removed.

Nobody else would: they have names that no location has (`temporary_name`).
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import rados
import rbd

from backends.errors import InUseError, StoreError
from backends.rbd.cluster import Cluster, Visit
from backends.rbd.errors import CEPH_ERRORS
from backends.rbd.removal import remove_whole

_log = logging.getLogger(__name__)

AGE_SECONDS = 3600.0  # of what is looked at; a writer has its image open all the time but at first
PAUSE_SECONDS = 3600.0  # between two searches
_SHOWN_OF_NAME = 40  # characters
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{16}\.part", re.DOTALL)


def temporary_name(name: str) -> str:
    """Return a name for an image in the making; that of an object has no dot in front."""
    return f".{name[:_SHOWN_OF_NAME]}.{secrets.token_hex(8)}.part"


class Leftovers:
    """Removes what is left in a pool, beside uploads, once in a while."""

    def __init__(self, cluster: Cluster, pool: str) -> None:
        self._cluster = cluster
        self._pool = pool
        self._search: asyncio.Task[None] | None = None
        self._next = 0.0  # loop time

    def look(self) -> None:
        """Begin a search, if it is time for one."""
        now = asyncio.get_running_loop().time()
        if now >= self._next and (self._search is None or self._search.done()):
            self._next = now + PAUSE_SECONDS
            self._search = asyncio.create_task(self._removed())

    async def aclose(self) -> None:
        """End a search."""
        if self._search is not None:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)

    async def _removed(self) -> None:
        try:
            async with self._cluster.visit(f"what is left in {self._pool}") as visit:
                await visit.run(partial(remove_leftovers, visit, self._pool, AGE_SECONDS))
        except StoreError as error:
            _log.warning("%s", error)


def remove_leftovers(visit: Visit, pool_name: str, age_seconds: float) -> None:
    """Remove what is older than that and has nobody who writes it.  Blocks."""
    pool = visit.pool(pool_name)
    before = datetime.now(UTC) - timedelta(seconds=age_seconds)
    for name in rbd.RBD().list(pool):
        visit.lane.beat()
        if _TEMPORARY.fullmatch(name):
            try:
                _remove_if_left(pool, name, before, visit.lane.beat)
            except rbd.ImageNotFound:
                continue
            except CEPH_ERRORS as error:
                _log.warning("%s: is left of an upload, and stays: %s", name, error)


def remove_all(visit: Visit, pool_name: str, name: str) -> int:
    """Remove the image `name` and all that were to become it; say how many.  Blocks."""
    pool = visit.pool(pool_name)
    shown = re.escape(name[:_SHOWN_OF_NAME])
    unfinished = re.compile(rf"\.{shown}\.[0-9a-f]{{16}}\.part", re.DOTALL)
    found = [each for each in rbd.RBD().list(pool) if each == name or unfinished.fullmatch(each)]
    for each in found:
        visit.lane.beat()
        try:
            remove_whole(pool, each, None, visit.lane.beat)
        except rbd.ImageBusy:
            raise InUseError(f"{each}: somebody uses the image") from None
    return len(found)


def _remove_if_left(
    pool: rados.Ioctx, name: str, before: datetime, beat: Callable[[], None]
) -> None:
    with rbd.Image(pool, name, read_only=True) as image:
        identity = str(image.id())
        made = image.create_timestamp().replace(tzinfo=UTC)
        if made > before or list(image.watchers_list()):
            return
    _log.warning("%s: was left of an upload of %s, and is removed", name, made)
    remove_whole(pool, name, identity, beat)
