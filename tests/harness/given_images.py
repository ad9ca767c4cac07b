"""The catalog's records, put together without an application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime

from registry.config import LimitSettings
from registry.db.database import Database
from registry.domain.limits import Limits
from registry.domain.validation import ImageValidator
from registry.fetching.filtering import UriFilter
from registry.fetching.options import FilterSettings
from registry.service.clock import utc_now
from registry.service.digests import Hashing
from registry.service.discards import Discards
from registry.service.downloads import Downloads
from registry.service.hashing import BackgroundHashing
from registry.service.images import Images
from registry.service.locations import Locations
from registry.service.places import Places
from registry.service.stores import Stores

LIMITS = Limits(**asdict(LimitSettings()))


def hashing_of(
    database: Database, stores: Stores, clock: Callable[[], datetime] = utc_now
) -> BackgroundHashing:
    """Put the service together that hashes in the background, in chunks of 256 KiB."""
    return BackgroundHashing(
        database,
        Downloads(database, stores),
        Discards(database, stores),
        Hashing("sha512", 256 << 10),
        clock=clock,
    )


def images_of(
    database: Database,
    stores: Stores,
    validator: ImageValidator,
    limits: Limits,
    clock: Callable[[], datetime] = utc_now,
    discards: Discards | None = None,
) -> Images:
    """Put the service of records together; clients may set locations."""
    locations = Locations(stores, UriFilter(FilterSettings()), limits, shown=True)
    return Images(
        database,
        Places(stores),
        validator,
        limits,
        locations=locations,
        discards=discards or Discards(database, stores),
        hashing=hashing_of(database, stores, clock),
        clock=clock,
    )
