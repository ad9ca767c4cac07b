"""The parts of the catalog, put together without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backends.memory import MemoryStore
from harness.catalog_database import IN_LONG_RUNS, empty_database, server_of, sync
from harness.databases import Server
from harness.given_images import images_of
from harness.given_stores import given
from registry.config import FormatSettings, LimitSettings
from registry.db.database import Database
from registry.db.options import DatabaseSettings
from registry.domain.limits import Limits
from registry.domain.schemas import Formats, image_schema
from registry.domain.validation import ImageValidator
from registry.inspection.options import InspectionSettings
from registry.service.checks import Checks
from registry.service.digests import Hashing
from registry.service.downloads import Downloads
from registry.service.images import Images
from registry.service.leases import Leases
from registry.service.stores import Stores
from registry.service.uploads import Uploads
from registry.signatures.keys import Keys
from registry.signatures.options import KeySettings

DEFAULTS = LimitSettings()


class Clock:
    """A clock that moves a second with every look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's are

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def limits() -> Limits:
    return Limits(**asdict(DEFAULTS))


@pytest.fixture(scope="session")
def formats() -> Formats:
    return Formats(FormatSettings().container, FormatSettings().disk)


@pytest.fixture(scope="session")
def validator(formats: Formats) -> ImageValidator:
    return ImageValidator(image_schema(formats))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session", params=IN_LONG_RUNS)
def server(request: pytest.FixtureRequest) -> Server | None:
    """Return what databases are on; modules about these run on every kind in every run."""
    return server_of(request)


@pytest.fixture
async def empty_settings(server: Server | None, tmp_path: Path) -> AsyncIterator[DatabaseSettings]:
    """Make an empty database, and say where it is."""
    async with empty_database(server, tmp_path) as url:
        yield DatabaseSettings(url)


@pytest.fixture
async def empty(empty_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Open a database without tables."""
    database = await asyncio.to_thread(Database, empty_settings)
    yield database
    await database.aclose()


@pytest.fixture
async def database(empty_settings: DatabaseSettings, empty: Database) -> Database:
    """Open a database with empty tables."""
    await sync(empty_settings)
    return empty


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def stores(store: MemoryStore) -> Stores:
    return given({"memory": store})


@pytest.fixture
def images(
    database: Database, stores: Stores, validator: ImageValidator, limits: Limits, clock: Clock
) -> Images:
    return images_of(database, stores, validator, limits, clock)


@pytest.fixture
def hashing() -> Hashing:
    return Hashing("sha512", 256 << 10)


@pytest.fixture
def keys() -> Iterator[Keys]:
    keys = Keys(KeySettings())
    yield keys
    keys.close()


@pytest.fixture
def checks(keys: Keys) -> Checks:
    return Checks(InspectionSettings(), keys)


@pytest.fixture
def leases(database: Database) -> Leases:
    return Leases(database, 60)


@pytest.fixture
def uploads(
    *,
    database: Database,
    stores: Stores,
    limits: Limits,
    hashing: Hashing,
    checks: Checks,
    leases: Leases,
    clock: Clock,
) -> Uploads:
    return Uploads(database, stores, limits, hashing, checks, leases=leases, clock=clock)


@pytest.fixture
def downloads(database: Database, stores: Stores) -> Downloads:
    return Downloads(database, stores)
