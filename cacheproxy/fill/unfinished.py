"""Images that were half done when the last keeper ended: completed with the proxy's own account.

Each was begun for a reader who might download it, and whose credentials nobody keeps.  So it is
completed only if it is the same image still, active, and shown to the account; otherwise, and
without an account, it waits for the next reader who may.
"""

from __future__ import annotations

import logging
from typing import Protocol

from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.manifest import private_image
from cacheproxy.errors import AccountError, ProxyError, StorageError
from cacheproxy.fill.delivery import bring
from cacheproxy.fill.demand import Credential
from cacheproxy.fill.flights import Flights
from cacheproxy.fill.source import Headers, OwnAccount
from cacheproxy.store.chunkstore import ChunkStore

log = logging.getLogger(__name__)

UNFINISHED_MAX = 256  # looked at after a start; fills in progress are fewer


class Records(Protocol):
    """Shows image records."""

    async def show(self, image_id: str, headers: Headers) -> ImageFacts | None:
        """Return the record of an active image, None if there is none to be had."""


class Unfinished:
    """Completes one image after the other; `run` once, after a start."""

    def __init__(
        self,
        flights: Flights,
        store: ChunkStore,
        source: Records,
        account: OwnAccount,
        settings: CacheSettings,
    ) -> None:
        self._flights = flights
        self._store = store
        self._source = source
        self._account = account
        self._settings = settings

    async def run(self) -> None:
        """Complete what was begun, as far as that can be."""
        if not (self._account.configured and self._settings.complete_in_background):
            return
        try:
            for key in await self._begun():
                await self._complete(key)
        except (AccountError, StorageError) as error:
            log.info("images that were begun wait for their next reader: %s", error)

    async def _begun(self) -> list[str]:
        keys: list[str] = []
        async for key, record in self._store.contents():
            if not record.proven and private_image(key) is not None:
                keys.append(key)
            if len(keys) == UNFINISHED_MAX:
                break
        return keys

    async def _complete(self, key: str) -> None:
        image_id, flights = private_image(key), self._flights
        assert image_id is not None
        headers = await self._account.headers()
        facts = await self._source.show(image_id, headers)
        record = self._store.content(key)
        if facts is None or record is None or flights.uses(key):
            return
        if record.about != flights.contents.about(facts, key):
            return  # its id is another image's now, for which nobody has asked
        credential = Credential(image_id, tuple(headers), own=True)
        try:
            content = await flights.admit(facts, credential)
            await bring(flights, self._store, self._settings, facts, content, credential)
        except StorageError:
            raise
        except ProxyError as error:
            log.info("%s waits for its next reader: %s", image_id, error)
        else:
            log.info("%s, which was half done at the start, is complete", image_id)
