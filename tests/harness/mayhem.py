"""What happens to the instances of a catalog and to its database, at random moments."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress

from harness.databases import Server
from harness.fleet import LEASE_SECONDS, Fleet, Instance

AWAY_MAX = 2  # of three instances
CALM_SECONDS = (1.0, 5.0)  # between two deeds of one hand
AWAY_SECONDS = (0.0, 3.0)  # of who was killed or stopped
FROZEN_SECONDS = (0.5, 2.5 * LEASE_SECONDS)
DATABASE_CALM_SECONDS = (8.0, 20.0)
DATABASE_AWAY_SECONDS = (0.0, 4.0)
LONG_OUTAGE_SHARE = 0.1
LONG_OUTAGE_SECONDS = 25.0  # longer than a transaction is repeated


class Mayhem:
    """Two hands that kill, stop and freeze instances, and one that kills the database."""

    def __init__(self, fleet: Fleet, server: Server, seed: int) -> None:
        self._fleet = fleet
        self._server = server
        self._chance = random.Random(seed)
        self._over = asyncio.Event()
        self._harmed: set[int] = set()
        self.deeds: Counter[str] = Counter()

    async def rage(self, seconds: float, *, database_restarts: int | None = None) -> None:
        """Do harm for so long, and make everything whole again; how often, None: at random."""
        async with asyncio.TaskGroup() as group:
            hands = [
                *(group.create_task(self._harm_instances()) for _ in range(AWAY_MAX)),
                group.create_task(self._harm_database(seconds, database_restarts)),
            ]
            await asyncio.wait(hands, timeout=seconds)  # they end by themselves only if they fail
            self._over.set()

    async def _harm_instances(self) -> None:
        while not self._over.is_set():
            await self._pause(self._chance.uniform(*CALM_SECONDS))
            if self._over.is_set():
                return
            instances = self._fleet.instances
            number = self._chance.choice(
                [each for each in range(len(instances)) if each not in self._harmed]
            )
            self._harmed.add(number)
            deed = self._chance.choice([self._kill, self._kill, self._stop, self._freeze])
            await deed(instances[number])
            self._harmed.discard(number)

    async def _kill(self, instance: Instance) -> None:
        self.deeds["instances killed"] += 1
        await asyncio.to_thread(instance.kill)
        await self._come_back(instance)

    async def _stop(self, instance: Instance) -> None:
        self.deeds["instances stopped"] += 1
        await asyncio.to_thread(instance.stop)
        await self._come_back(instance)

    async def _come_back(self, instance: Instance) -> None:
        await self._pause(self._chance.uniform(*AWAY_SECONDS))
        await asyncio.to_thread(instance.start)

    async def _freeze(self, instance: Instance) -> None:
        self.deeds["instances frozen"] += 1
        instance.freeze()
        await self._pause(self._chance.uniform(*FROZEN_SECONDS))
        instance.thaw()

    async def _harm_database(self, seconds: float, restarts: int | None) -> None:
        left = restarts
        while not self._over.is_set() and left != 0:
            calm = DATABASE_CALM_SECONDS
            pause = self._chance.uniform(*calm) if restarts is None else seconds / (restarts + 1)
            await self._pause(pause)
            if self._over.is_set():
                return
            self.deeds["databases killed"] += 1
            await asyncio.to_thread(self._server.kill)
            is_long = restarts is None and self._chance.random() < LONG_OUTAGE_SHARE
            self.deeds["long outages of the database"] += is_long
            away = LONG_OUTAGE_SECONDS if is_long else self._chance.uniform(*DATABASE_AWAY_SECONDS)
            await self._pause(away)
            await asyncio.to_thread(self._server.start)
            left = None if left is None else left - 1
        await self._over.wait()

    async def _pause(self, seconds: float) -> None:
        """Let time pass, unless it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
