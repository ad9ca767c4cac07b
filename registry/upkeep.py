"""What operators do to the database, apart from serving: one function a command."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from registry.config import Settings
from registry.db.changes import renew_feed
from registry.db.database import Database
from registry.db.purge import purge_images
from registry.db.schema import SchemaState, schema_state
from registry.directories import require_directory
from registry.errors import ConfigError
from registry.service.clock import utc_now

LOG = logging.getLogger(__name__)

_SYNC = "run `cacheproxy-registry --config-file FILE db sync`"
PURGED_AT_ONCE = 500  # images in one transaction, short enough for others to write between


@asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """Open a database that this program fits."""
    async with _reachable_database(settings) as database:
        state = await schema_state(database)
        require_program(state)
        if not state.fits:
            raise ConfigError(
                f"the database is at revision {state.current or 'none'} and this program needs "
                f"{state.newest}: {_SYNC}"
            )
        if state.is_newer:
            LOG.info(
                "the database is at revision %s of a later release, which this one, of %s, fits",
                *(state.current, state.newest),
            )
        yield database


async def sync_database(settings: Settings) -> SchemaState:
    """Bring the database to the newest revision, creating it where it is missing."""
    # Here alone: it brings Alembic, which nobody else needs.
    from registry.db.upgrading import upgrade_schema  # noqa: PLC0415

    database = await asyncio.to_thread(Database, settings.database)
    try:
        if database.file is None:
            await database.wait_until_reachable()
        else:
            directory, option = database.file.parent, "[database] connection"
            await asyncio.to_thread(require_directory, directory, option, create=False)
        state = await upgrade_schema(database)
        require_program(state)
        return state
    finally:
        await database.aclose()


async def database_state(settings: Settings) -> SchemaState:
    """Tell at which revision the database is; nothing is changed."""
    async with _reachable_database(settings) as database:
        return await schema_state(database)


def require_program(state: SchemaState) -> None:
    """Refuse to work on tables which a later release has made its own."""
    if not state.fits and (state.is_newer or state.is_newest):
        raise ConfigError(
            f"the database is at revision {state.current} and needs a program of "
            f"{state.oldest or state.current} or later, and this one is of {state.newest}: install "
            "the release that its last `db sync` was run with"
        )


async def purge_deleted(settings: Settings, days: int, most: int | None) -> AsyncIterator[int]:
    """Remove the rows of images that were deleted more than `days` ago; yield how many were so far.

    `most` bounds them.
    """
    before = utc_now() - timedelta(days=days)
    purged = 0
    async with opened_database(settings) as database:
        while most is None or purged < most:
            batch = PURGED_AT_ONCE if most is None else min(PURGED_AT_ONCE, most - purged)
            gone = await database.change(purge_images, before, batch)
            if not gone:
                return
            purged += gone
            yield purged


async def renew_changes(settings: Settings) -> None:
    """Begin the feed of changes anew: what was told before may be untrue of a restored database."""
    async with opened_database(settings) as database:
        await database.change(renew_feed)


@asynccontextmanager
async def _reachable_database(settings: Settings) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, settings.database)
    try:
        if database.file is None:
            await database.wait_until_reachable()
        elif not await asyncio.to_thread(database.file.exists):
            raise ConfigError(f"there is no database {database.file}: {_SYNC}")
        yield database
    finally:
        await database.aclose()
