"""The parts of the catalog, put together without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backends.memory import MemoryStore
from harness.given_stores import given
from registry.config import FormatSettings, LimitSettings
from registry.db.database import Database
from registry.db.schema import upgrade_schema
from registry.domain.limits import Limits
from registry.domain.schemas import Formats, image_schema
from registry.domain.validation import ImageValidator
from registry.service.digests import Hashing
from registry.service.downloads import Downloads
from registry.service.images import Images
from registry.service.places import Places
from registry.service.stores import Stores
from registry.service.uploads import Uploads

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
    return Limits(
        image_property_quota=DEFAULTS.image_property_quota,
        image_tag_quota=DEFAULTS.image_tag_quota,
        image_member_quota=DEFAULTS.image_member_quota,
        image_size_cap=DEFAULTS.image_size_cap,
        limit_param_default=DEFAULTS.limit_param_default,
        api_limit_max=DEFAULTS.api_limit_max,
    )


@pytest.fixture(scope="session")
def formats() -> Formats:
    return Formats(FormatSettings().container, FormatSettings().disk)


@pytest.fixture(scope="session")
def validator(formats: Formats) -> ImageValidator:
    return ImageValidator(image_schema(formats))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, f"sqlite:///{tmp_path}/registry.sqlite")
    await upgrade_schema(database)
    yield database
    await database.aclose()


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
    return Images(database, Places(stores), validator, limits, clock)


@pytest.fixture
def hashing() -> Hashing:
    return Hashing("sha512", 256 << 10)


@pytest.fixture
def uploads(
    database: Database, stores: Stores, limits: Limits, hashing: Hashing, clock: Clock
) -> Uploads:
    return Uploads(database, stores, limits, hashing, clock)


@pytest.fixture
def downloads(database: Database, stores: Stores) -> Downloads:
    return Downloads(database, stores)
