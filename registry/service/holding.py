"""Holds what was claimed in the database for as long as it is being done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from registry.domain.errors import UnavailableError

LOG = logging.getLogger(__name__)


async def hold(
    what: str, renew: Callable[[], Awaitable[bool]], *, claimed: float, lease: float, pause: float
) -> None:
    """Renew a lease, which was given at `claimed` or later on the loop's clock; return when it is lost.

    It lasts `lease` seconds from each renewal, between which are `pause`.  `renew` says whether it
    is still ours.  One that cannot be renewed is lost before anybody else may have it.
    """
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(pause)
        begun = loop.time()
        try:
            async with asyncio.timeout_at(claimed + lease - pause):
                if not await renew():
                    return
        except TimeoutError:
            return
        except UnavailableError as error:
            LOG.warning("%s cannot be renewed: %s", what, error)
        else:
            claimed = begun
