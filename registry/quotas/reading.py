"""Puts together what reads limits; imported only where they are Keystone's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.keystone.account import Account, load_plugin
from registry.keystone.validation import Keystone
from registry.quotas.limits import KeystoneLimits
from registry.quotas.options import KeystoneLimitSettings


@asynccontextmanager
async def open_limits(settings: KeystoneLimitSettings) -> AsyncIterator[KeystoneLimits]:
    """Give what reads limits, as long as the context lasts; `ConfigError` if that cannot be."""
    await asyncio.to_thread(load_plugin, settings.account)
    keystone = await asyncio.to_thread(Keystone, settings.account, Account(settings.account))
    limits = KeystoneLimits(keystone.document, settings.endpoint)
    try:
        yield limits
    finally:
        await limits.aclose()
        await keystone.aclose()
