"""Puts together what knows callers by Keystone; imported only where it is asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.keystone.account import Account, load_plugin
from registry.keystone.callers import Callers
from registry.keystone.options import KeystoneSettings
from registry.keystone.tokens import Tokens
from registry.keystone.validation import Keystone
from registry.policy.options import PolicySettings
from registry.policy.policy import Policy

LOG = logging.getLogger(__name__)

LOG_IN_AND_ASK = 2  # answers of Keystone's that a question may need


@asynccontextmanager
async def open_callers(
    settings: KeystoneSettings, policy_settings: PolicySettings
) -> AsyncIterator[Callers]:
    """Give who knows callers, as long as the context lasts; `ConfigError` if that cannot be.

    Keystone may be away meanwhile.
    """
    await asyncio.to_thread(load_plugin, settings)
    if settings.memcached_servers:
        LOG.info(
            "[keystone_authtoken] memcached_servers are not used: each process remembers tokens in "
            "its own memory"
        )
    policy = await asyncio.to_thread(Policy, policy_settings)
    keystone = await asyncio.to_thread(Keystone, settings, Account(settings))
    tokens = Tokens(keystone.ask, settings.cache_seconds, settings.request_seconds * LOG_IN_AND_ASK)
    watching = asyncio.create_task(policy.watch(), name="watch the rules")
    try:
        yield Callers(settings, tokens, policy)
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        await tokens.aclose()
        await keystone.aclose()
        if not watching.cancelled():
            watching.result()  # it ends by itself only by a fault
