"""Data in stores that the configuration names no more, told to the operator at the start.

Nothing is changed: the option may be put back.  The look reads all places of images, and so it is
made beside the requests, once in each process.
"""

from __future__ import annotations

import asyncio
import logging

from backends.location import Location
from registry.db.database import Database
from registry.db.images import places_by_store
from registry.db.jobs import all_owed
from registry.domain.errors import InvalidRequestError, UnavailableError
from registry.domain.image import ImageLocation
from registry.domain.job import Owed
from registry.imports.options import ImportSettings
from registry.imports.staging import UNSTAGE
from registry.service.stores import Stores

LOG = logging.getLogger(__name__)

_UNREACHABLE = (
    "%d images have data in the store %s, which [DEFAULT] enabled_backends names no more: it cannot "
    "be read there. Name the store again, with its section; to give it up, copy them to another one "
    "(import by copy-image), and delete these copies (DELETE /v2/stores/%s/IMAGE), first"
)
_STAGED_ELSEWHERE = (
    "%d images wait for their import %s (%s): now that [cacheproxy] staging_store is %s, it would not "
    "find their data. Put the option back until they are imported, or delete and stage them again"
)
_NAMED_MAX = 3  # images in a line of the log


class Orphans:
    """Looks for such data."""

    def __init__(self, database: Database, stores: Stores, settings: ImportSettings) -> None:
        self._database = database
        self._stores = stores
        self._settings = settings

    async def watch(self) -> None:
        """Tell of it, once; never returns."""
        try:
            await self.tell()
        except UnavailableError as error:
            LOG.warning("nobody has looked for data in stores that are not configured: %s", error)
        await asyncio.Event().wait()

    async def tell(self) -> None:
        """Write into the log what there is."""
        for store, count, url in await self._database.ask(places_by_store):
            if store not in self._stores.names and not self._fits(url):
                LOG.error(_UNREACHABLE, count, store, store)
        elsewhere: dict[str, set[str]] = {}
        for image_id, owed in await self._database.ask(all_owed, UNSTAGE):
            where = self._elsewhere(owed)
            if where is not None:
                elsewhere.setdefault(where, set()).add(image_id)
        for where, images in elsewhere.items():
            some = ", ".join(sorted(images)[:_NAMED_MAX])
            now = self._settings.staging_store or "not set"
            LOG.error(_STAGED_ELSEWHERE, len(images), where, some, now)

    def _fits(self, url: str) -> bool:
        """Whether it is in a configured store, which was only called otherwise."""
        try:
            self._stores.admitting(Location(url), None, strictly=False)
        except InvalidRequestError:
            return False
        return True

    def _elsewhere(self, owed: Owed) -> str | None:
        """Return where a thing is staged, if that is not where an import would look for it."""
        told, now = owed.arguments, self._settings.staging_store
        if told.get("free") or told.get("local"):
            return None
        if owed.host is not None:
            is_ours = owed.host == self._settings.host
            return f"in {self._settings.staging_directory}" if now and is_ours else None
        if now is None:
            return "in a store"
        url = told.get("url")
        there = None if url is None else self._stores.name_of(ImageLocation(url, {}))
        return None if there in {None, now} else f"in the store {there}"
