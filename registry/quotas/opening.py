"""Puts together what holds projects to their quotas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module

from registry.db.database import Database
from registry.quotas.options import QuotaSettings
from registry.quotas.quotas import Quotas


@asynccontextmanager
async def open_quotas(settings: QuotaSettings, database: Database) -> AsyncIterator[Quotas]:
    """Give everybody's quotas, as long as the context lasts; `ConfigError` if that cannot be."""
    if settings.keystone is None:
        yield Quotas(database, settings.storage)
        return
    # What it brings takes a quarter of a second to import, and is needed here only.
    reading = await asyncio.to_thread(import_module, "registry.quotas.reading")
    async with reading.open_limits(settings.keystone) as limits:
        yield Quotas(database, source=limits)
