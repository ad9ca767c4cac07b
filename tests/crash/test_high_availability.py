"""Three instances behind HAProxy, and their database, are killed, stopped and frozen at random.

No acknowledged write is lost, nothing is there twice, no image is stuck, every request that failed
said so and was done when it was sent again, and nothing is left behind in database and stores.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from harness.databases import Server
from harness.drama import drama
from harness.keystone import Keystone
from harness.mariadb import running_mariadb
from harness.postgres import running_postgres
from harness.results import note

LOG = logging.getLogger(__name__)

SHORT_SECONDS = 12.0
LONG_SECONDS = float(os.environ.get("CACHEPROXY_HA_SECONDS", "300"))
AFTER_SECONDS = 600  # for stories and jobs to end, and the audit

pytestmark = pytest.mark.filterwarnings("ignore")  # openstacksdk warns of itself


def seed() -> int:
    """Return where everything random begins: another one each time, or one that is played again.

    A gate plays the same each time; people who run the tests find new ones.
    """
    another = 1 if "CI" in os.environ else random.SystemRandom().randrange(1 << 30)
    chosen = int(os.environ.get("CACHEPROXY_HA_SEED", another))
    LOG.warning("CACHEPROXY_HA_SEED=%d plays this again, as far as the machine lets it", chosen)
    return chosen


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run a server that keeps what it has committed when it is killed."""
    running: Callable[..., AbstractContextManager[Server]] = request.param
    with running(keeps_promises=True) as server:
        yield server


@pytest.mark.timeout(SHORT_SECONDS + AFTER_SECONDS)
@pytest.mark.parametrize("server", [running_postgres], ids=["postgresql"], indirect=True)
async def test_a_few_kills(server: Server, keystone: Keystone, tmp_path: Path) -> None:
    async with drama(tmp_path, server, keystone, seed()) as played:
        await played.rage(SHORT_SECONDS, database_restarts=1)
        figures = await played.audit()
    # Whether any request failed is up to chance: all may have outwaited it.
    assert figures["mayhem"]["databases killed"] == 1
    assert sum(figures["mayhem"].values()) > 1
    assert figures["operations acknowledged"]


@pytest.mark.long
@pytest.mark.timeout(LONG_SECONDS + AFTER_SECONDS)
@pytest.mark.parametrize(
    "server", [running_postgres, running_mariadb], ids=["postgresql", "mariadb"], indirect=True
)
async def test_minutes_of_kills(server: Server, keystone: Keystone, tmp_path: Path) -> None:
    began, chosen = time.monotonic(), seed()
    async with drama(tmp_path, server, keystone, chosen) as played:
        await played.rage(LONG_SECONDS)
        raged = time.monotonic() - began
        figures = await played.audit()
    figures |= {"seed": chosen, "minutes": round(raged / 60, 1)}
    await asyncio.to_thread(note, "high-availability", server.kind, figures)
