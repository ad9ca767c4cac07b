"""How the keeper comes to its store, at once or as soon as the disk lets it, and when it leaves it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Hashable
from typing import Any

from cacheproxy.config import CacheSettings
from cacheproxy.errors import ConfigError, StorageError
from cacheproxy.meter import Meter
from cacheproxy.processes.past import Past
from cacheproxy.store.chunkstore import ChunkStore
from cacheproxy.store.disk import Loss, show_state
from cacheproxy.store.layout import IndexDamagedError

RETRY_SECONDS = 2.0
_CODES = {Loss.REOPEN: os.EX_TEMPFAIL, Loss.REBUILD: os.EX_DATAERR}

log = logging.getLogger(__name__)


async def open_store(  # noqa: PLR0913  what is opened, and whom to tell
    settings: CacheSettings,
    past: Past,
    meter: Meter,
    stop: asyncio.Event,
    *,
    on_dying: Callable[[bytes, Hashable], None],
    on_waiting: Callable[[], None],
) -> ChunkStore | None:
    """Open the store, trying until the disk lets us; None: it is to stop first.

    `on_waiting` is called while the disk does not let us.  Raises `ConfigError` in the program's
    first keeper only: what was right then and is wrong now is the disk's doing, a directory that is
    not mounted for instance, and may pass.
    """
    opening = asyncio.create_task(_open(settings, past, meter, on_dying, on_waiting))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
        return opening.result() if opening.done() else None
    finally:
        opening.cancel()
        stopping.cancel()


async def _open(
    settings: CacheSettings,
    past: Past,
    meter: Meter,
    on_dying: Callable[[bytes, Hashable], None],
    on_waiting: Callable[[], None],
) -> ChunkStore:
    told, rebuild = "", past.rebuild
    while True:
        try:
            return await ChunkStore.open(
                settings,
                meter,
                on_dying=on_dying,
                rebuild=rebuild,
                device=None if past.first else past.device,
            )
        except (ConfigError, StorageError) as error:
            if past.first and isinstance(error, ConfigError):
                raise
            rebuild = rebuild or isinstance(error, IndexDamagedError)
            if str(error) != told:
                told = str(error)
                log.warning("%s; the cache is not used until it can be opened", told)
        show_state(meter, None)  # that it is not used says the supervisor, which sees us not ready
        on_waiting()
        await asyncio.sleep(RETRY_SECONDS)


async def use_store(store: ChunkStore, stop: asyncio.Event) -> int:
    """Wait until the keeper is to stop (0), or cannot go on with this store: its exit code.

    A store whose disk is bypassed cannot be closed in order, nor can one that is lost.
    """
    stopping = asyncio.create_task(stop.wait())
    try:
        over: list[asyncio.Future[Any]] = [stopping, store.disk.lost]
        await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    if store.disk.lost.done():
        return _CODES[store.disk.lost.result()]
    return 0 if store.disk.usable else os.EX_TEMPFAIL
