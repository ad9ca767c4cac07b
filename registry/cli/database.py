"""`db sync | version | check | purge | restored`: what they print, and their exit codes."""

from __future__ import annotations

import argparse
import sys

from registry.config import Settings
from registry.db.schema import SchemaState
from registry.upkeep import (
    database_state,
    purge_deleted,
    renew_changes,
    require_program,
    sync_database,
)

SYNC_IS_NEEDED = 3  # exit code of `db check`, as of Glance's


async def sync(_options: argparse.Namespace, settings: Settings) -> int:
    """Bring the tables to this program's revision."""
    state = await sync_database(settings)
    if state.fits:
        sys.stdout.write(f"the database is at revision {state.current} already{_newer(state)}\n")
    else:
        was = state.current or "empty"
        sys.stdout.write(f"the database is at revision {state.newest} now (it was {was})\n")
    return 0


async def version(_options: argparse.Namespace, settings: Settings) -> int:
    """Tell the revision."""
    state = await database_state(settings)
    oldest = f", for programs from {state.oldest} on" if state.oldest else ""
    sys.stdout.write(f"{state.current or 'none'}{oldest}; this program is of {state.newest}\n")
    return 0


async def check(_options: argparse.Namespace, settings: Settings) -> int:
    """Tell whether there is something to do."""
    state = await database_state(settings)
    require_program(state)
    if state.fits:
        sys.stdout.write(
            f"the database is at revision {state.current}: nothing to do{_newer(state)}\n"
        )
        return 0
    was = state.current or "none"
    sys.stdout.write(
        f"the database is at revision {was}: db sync would bring it to {state.newest}\n"
    )
    return SYNC_IS_NEEDED


async def purge(options: argparse.Namespace, settings: Settings) -> int:
    """Remove the rows of images that were deleted long ago."""
    purged = 0
    async for purged in purge_deleted(settings, options.age_in_days, options.max_rows):
        sys.stderr.write(f"{purged} images so far\n")
    sys.stdout.write(f"removed {purged} images that were deleted {options.age_in_days} days ago\n")
    return 0


async def restored(_options: argparse.Namespace, settings: Settings) -> int:
    """Tell the proxies that the past has changed."""
    await renew_changes(settings)
    sys.stdout.write("the feed of changes begins anew; proxies will look at all their images\n")
    return 0


def _newer(state: SchemaState) -> str:
    """Say that the database is ahead of this program, if it is."""
    return f"; this program, of {state.newest}, still fits" if state.is_newer else ""
