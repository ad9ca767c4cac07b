"""Restarts under load, with a socket that outlives the program: nobody is refused.

Every request gets its right answer; only one that is in progress for longer than `drain_seconds`
is broken off, and that with a reset.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from harness.activation import activated, listening
from harness.downloads import Clients, clients
from harness.images import random_bytes
from harness.node import CONFIGURATION
from harness.origin import Origin, OriginImage, origin
from harness.program import REPOSITORY, Program, free_port

MIB = 1 << 20
READERS = 4  # each request of theirs is on a connection of its own
IMAGES = 3
IMAGE_BYTES = 3 * MIB - 17
LONG_BYTES = 64 * MIB  # no socket's buffers hold so much
DRAIN_SECONDS = 1
BETWEEN = 8  # requests that end well between two restarts
PATIENCE_SECONDS = 90.0
SAMPLE = 3
MANY = 100

RESULTS = Path(__file__).parents[1] / "results"


class Trial:
    """A node that is restarted, and those who go on asking it meanwhile."""

    def __init__(self, glance: Origin, url: str, ask: Clients) -> None:
        self.endings: Counter[str] = Counter()  # of the requests on new connections
        self.kept_alive = 0  # answers to requests on a connection that is used again
        self.broken_off = 0
        self.longest_seconds = 0.0  # from connecting to the end of the answer
        self._url = url
        self._ask = ask
        self._images: list[tuple[OriginImage, bytes]] = []
        for number in range(IMAGES):
            data = random_bytes(IMAGE_BYTES, seed=number)
            self._images.append((glance.add(data), data))
        self._long = glance.add(random_bytes(LONG_BYTES, seed=9))
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._stop = False

    async def run(self, restarts: int, begin: Callable[[], Program]) -> None:
        """Restart it so often."""
        program = await asyncio.to_thread(begin)
        self._readers = [asyncio.create_task(self._read_on(number)) for number in range(READERS)]
        self._readers.append(asyncio.create_task(self._keep_asking()))
        try:
            for _ in range(restarts):
                long = self._ask(self._long.id, paused=True)
                await long.answered()
                await self._progress()
                await asyncio.to_thread(program.stop)
                long.go_on()
                assert await long.ended() == "reset"
                long.data.clear()
                self.broken_off += 1
                program = await asyncio.to_thread(begin)
                await self._progress()
            self._stop = True
            await asyncio.gather(*self._readers)
        finally:
            for reader in self._readers:
                reader.cancel()
            await asyncio.wait(self._readers)
            if program in Program.running:
                await asyncio.to_thread(program.stop)

    async def _progress(self) -> None:
        """Wait until some more requests have ended well."""
        goal = self.endings["whole"] + BETWEEN
        while self.endings["whole"] < goal:
            assert not any(reader.done() for reader in self._readers)
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), PATIENCE_SECONDS)

    async def _read_on(self, seed: int) -> None:
        """Ask on a new connection each time, until told to stop."""
        choice = random.Random(seed)
        while not self._stop:
            image, data = choice.choice(self._images)
            start = choice.randrange(len(data))
            began = time.monotonic()
            download = self._ask(image.id, f"bytes={start}-")
            ending = await download.ended()
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
            self.endings[ending] += 1
            assert (ending, download.status) == ("whole", 206), (download, self.endings)
            assert download.data == data[start:], "wrong bytes"
            download.data.clear()
            self._news.set()

    async def _keep_asking(self) -> None:
        """Ask on one connection, as programs do: with another try if it was closed meanwhile."""
        connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=60)
        async with aiohttp.ClientSession(self._url, connector=connector) as session:
            while not self._stop:
                image, _ = self._images[0]
                async with session.get(f"/v2/images/{image.id}") as answer:
                    assert (await answer.json())["id"] == image.id
                self.kept_alive += 1


async def restarted(directory: Path, restarts: int) -> Trial:
    """Restart a node so often, and return what came of it."""
    with listening() as api:
        host, port = api.getsockname()
        async with origin() as glance, clients(f"http://{host}:{port}") as ask:
            file = directory / "cacheproxy.conf"
            values = {"port": port, "metrics": free_port(), "workers": 2, "upstream": glance.url}
            values |= {"trust": False, "cache": directory / "cache", "limit": 256 * MIB}
            text = CONFIGURATION.format(**values)
            file.write_text(f"{text}[DEFAULT]\ndrain_seconds = {DRAIN_SECONDS}\n")
            command: list[str | Path] = [
                sys.executable,
                "-m",
                "cacheproxy",
                "serve",
                "--config-file",
                file,
            ]
            given = activated(command, {"api": api})
            environment = {"PYTHONPATH": str(REPOSITORY), **given.environment}

            def begin() -> Program:
                return Program(
                    "cacheproxy",
                    given.command,
                    directory=directory,
                    environment=environment,
                    fds=given.fds,
                )

            trial = Trial(glance, f"http://{host}:{port}", ask)
            await trial.run(restarts, begin)
        log = await asyncio.to_thread((directory / "cacheproxy.log").read_text)
        assert "Traceback" not in log
        assert log.count("cacheproxy: stopping") == restarts + 1
        return trial


async def test_restarts_refuse_nobody(tmp_path: Path) -> None:
    trial = await restarted(tmp_path, SAMPLE)
    assert set(trial.endings) == {"whole"}
    assert trial.kept_alive > 0


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_hundred_restarts(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    trial = await restarted(tmp_path, MANY)
    figures = {
        "restarts": MANY,
        "right_answers_on_new_connections": trial.endings["whole"],
        "right_answers_on_a_kept_connection": trial.kept_alive,
        "refused": trial.endings["refused"],
        "broken": trial.endings["reset"] + trial.endings["cut"],
        "wrong_bytes": 0,
        "longer_than_drain_seconds_and_reset": trial.broken_off,
        "longest_wait_for_an_answer_seconds": round(trial.longest_seconds, 2),
        "run": {
            "date": began.date().isoformat(),
            "seconds": round((datetime.now(UTC) - began).total_seconds()),
        },
    }
    await asyncio.to_thread(RESULTS.mkdir, exist_ok=True)
    await asyncio.to_thread(
        (RESULTS / "restarts.json").write_text, json.dumps(figures, indent=2) + "\n"
    )
