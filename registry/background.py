"""The work behind the requests on images' data: who owes it, and the jobs that do it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from backends.configuration import StoresSettings
from backends.openstores import OpenStores
from registry.config import Settings
from registry.db.database import Database
from registry.db.hashing import HASH, MANIFEST
from registry.fetching.filtering import UriFilter
from registry.fetching.guarding import guard_of
from registry.locations.options import BackgroundSettings
from registry.service.digests import Hashing
from registry.service.discards import Discards
from registry.service.downloads import Downloads
from registry.service.hashing import MEBIBYTE, SURVEY, SURVEY_SECONDS, BackgroundHashing
from registry.service.jobs import Handler
from registry.service.scrubbing import Scrubbing
from registry.service.stores import Stores
from registry.upkeep import opened_database

SCRUB = "scrub"


@dataclass(frozen=True, slots=True)
class Background:
    """Who does what there is to do later, and owes it."""

    discards: Discards
    prompt_discards: Discards  # of what was continued, or came to nothing: never delayed
    hashing: BackgroundHashing
    scrubbing: Scrubbing
    settings: BackgroundSettings
    scrub_seconds: float

    @property
    def handlers(self) -> dict[str, Handler]:
        """Who does which kind of job."""
        return {
            HASH: self.hashing.hash,
            MANIFEST: self.hashing.hash,
            SURVEY: self.hashing.survey,
            SCRUB: self.scrubbing.run,
        }

    @property
    def settlers(self) -> dict[str, Handler]:
        """Who settles what jobs leave behind that are given up."""
        return {HASH: self.hashing.take_back, MANIFEST: self.hashing.take_back}

    @property
    def recurring(self) -> dict[str, float]:
        """How many seconds lie between two of the same kind."""
        return {SURVEY: SURVEY_SECONDS, SCRUB: self.scrub_seconds}

    @property
    def limits(self) -> dict[str, int]:
        """How many of a kind this instance does at the same time."""
        at_once = self.settings.hashes_at_once
        return {HASH: at_once, MANIFEST: min(1, at_once)}


def build_background(database: Database, stores: Stores, settings: Settings) -> Background:
    """Put it together."""
    chosen = settings.background
    keep = float(chosen.scrub_time)
    delay = keep if chosen.delayed_delete else None
    lease = settings.uploads.lease_seconds
    discards = Discards(database, stores, delay=delay, lease=lease)
    often = float(chosen.wakeup_time)
    if delay is None:  # what is due has failed, or was left by one who died, as janitors look for
        often = min(often, settings.uploads.janitor_seconds)
    hashing = BackgroundHashing(
        database,
        Downloads(database, stores),
        discards,
        Hashing(settings.hash_algorithm, settings.manifest_chunk_bytes),
        retries=chosen.http_retries,
        task_life=timedelta(hours=settings.imports.task_hours),
        bytes_per_second=chosen.hash_mebibytes * MEBIBYTE,
    )
    scrubbing = Scrubbing(database, discards, keep=keep, at_once=chosen.scrub_pool_size)
    prompt = Discards(database, stores, lease=lease)
    return Background(discards, prompt, hashing, scrubbing, chosen, often)


@asynccontextmanager
async def opened_background(
    settings: Settings, configured: StoresSettings
) -> AsyncIterator[Background]:
    """Open what a command needs to do such work once; the service may be running beside it."""
    async with opened_database(settings) as database:
        guard = guard_of(UriFilter(settings.web))
        stores = Stores(configured, OpenStores(configured, guard=guard))
        try:
            yield build_background(database, stores, settings)
        finally:
            await stores.aclose()
