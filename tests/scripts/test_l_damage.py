"""Chunk files that rot, are cut, overwritten or removed, between requests and under load.

Each damage is found by the next reader, set aside, healed from the upstream and counted, once; no
client gets a wrong byte or a failed request.  Without `verify = always` what is being sent are the
pages of the file themselves: who writes to it through the file system then changes what is on its
way.  So that is done while nothing is on its way; below the file system, at any time.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest

from cacheproxy.store.digest import digest_of
from harness.damage import damage, overwrite, rotting_disk
from harness.images import random_bytes
from harness.origin import OriginImage
from harness.story import Story, figure, story

KIB = 1 << 10
CHUNK = 256 * KIB
IMAGES = 4
CHUNKS_EACH = 16
IMAGE_BYTES = CHUNKS_EACH * CHUNK - 777
ROUND = 24  # damages between two looks at the figures
READERS = 3  # who read all the time
DISK_LIMIT_BYTES = 160 << 20
SAMPLE = 120
MANY = 5000

RESULTS = Path(__file__).parents[1] / "results"
Damage = Callable[[Path, random.Random], str]
Verify = Literal["disk-read", "always", "never"]


def settings(verify: Verify) -> str:
    return f"[cache]\nchunk_bytes = 256K\nverify = {verify}\nscrub_rate = 0\n"


class Trial:
    """A warm node whose chunk files are damaged, round after round."""

    def __init__(self, told: Story, hurt: Damage, seed: int, *, calm: bool = False) -> None:
        """`calm`: damage is done only while nothing is being sent."""
        self.told = told
        self._turns = asyncio.Semaphore(READERS)  # of those who read all the time
        self._calm = calm
        self.kinds: Counter[str] = Counter()
        self.background = 0  # answers to those who read all the time
        self._hurt = hurt
        self._choice = random.Random(seed)
        self._images: list[tuple[OriginImage, bytes]] = []
        self._stop = asyncio.Event()

    async def warm(self) -> None:
        for number in range(IMAGES):
            data = random_bytes(IMAGE_BYTES, seed=700 + number)
            self._images.append((self.told.glance.add(data), data))
        for image, data in self._images:
            assert await self.told.ask(image.id).body() == data
        await self.told.idle()
        assert self.told.chunk_files() == IMAGES * CHUNKS_EACH

    async def run(self, damages: int) -> None:
        """Do so much damage, and look after each round."""
        readers = [asyncio.create_task(self._read_on(number)) for number in range(READERS)]
        try:
            while (left := damages - self.kinds.total()) > 0:
                await self._round(min(left, ROUND))
        finally:
            self._stop.set()
            await asyncio.gather(*readers)

    async def _read_on(self, seed: int) -> None:
        """Read ranges, and check them, until told to stop."""
        choice = random.Random(seed)
        while not self._stop.is_set():
            image, data = choice.choice(self._images)
            start = choice.randrange(IMAGE_BYTES)
            stop = min(IMAGE_BYTES, start + choice.randint(1, 3 * CHUNK))
            async with self._turns:
                body = await self.told.ask(image.id, f"bytes={start}-{stop - 1}").body()
            assert body == data[start:stop], (image.id, start, stop)
            self.background += 1

    async def _round(self, damages: int) -> None:
        found_before = await self._found()
        files = sorted(self.told.node.cache.glob("chunks/*/*"))
        assert len(files) == IMAGES * CHUNKS_EACH, "a chunk was not healed"
        hurt = self._choice.sample(files, damages)
        async with AsyncExitStack() as quiet:
            if self._calm:
                for _ in range(READERS):
                    await quiet.enter_async_context(self._turns)
            self.kinds.update(await asyncio.to_thread(self._damage, hurt))
        bodies = [self.told.ask(image.id).body() for image, _ in self._images]
        for body, (image, data) in zip(await asyncio.gather(*bodies), self._images, strict=True):
            assert body == data, image.id
        assert await self._found() - found_before == damages
        assert await asyncio.to_thread(self._all_right, hurt)

    def _damage(self, files: list[Path]) -> list[str]:
        return [self._hurt(file, self._choice) for file in files]

    def _all_right(self, files: list[Path]) -> bool:
        """Whether what was damaged is there again, and right."""
        return all(digest_of(file.read_bytes()) == bytes.fromhex(file.name) for file in files)

    async def _found(self) -> float:
        """Return how many chunks were found damaged or gone."""
        samples = await asyncio.to_thread(self.told.node.metrics)
        return figure(samples, "verify_failures_total") + figure(samples, "chunks_missing_total")

    async def end(self, damages: int) -> dict[str, float | str]:
        """Check what is left at the end, and return the figures."""
        samples = await self.told.idle()
        assert figure(samples, "requests_total", result="error") == 0
        assert figure(samples, "requests_total", result="bypass") == 0
        found = figure(samples, "verify_failures_total") + figure(samples, "chunks_missing_total")
        assert found == damages
        deleted = self.kinds["delete"]
        assert figure(samples, "chunks_missing_total") == deleted
        healed = figure(samples, "chunks_stored_total") - IMAGES * CHUNKS_EACH
        assert healed == damages
        quarantined = list((self.told.node.cache / "quarantine").iterdir())
        assert 0 < len(quarantined) <= min(32, damages - deleted)
        return {
            "damages": damages,
            **{f"damages_{kind}": count for kind, count in sorted(self.kinds.items())},
            "found": found,
            "healed": healed,
            "requests": self.told.ask.asked,
            "requests_in_the_background": self.background,
            "wrong_bytes": 0,
            "failed_requests": 0,
            "passed_round_the_cache": figure(samples, "requests_total", result="bypass"),
        }


async def through_the_file_system(
    tmp_path: Path, damages: int, verify: Verify
) -> dict[str, float | str]:
    async with story(tmp_path, workers=2, more=settings(verify)) as told:
        trial = Trial(told, damage, seed=damages, calm=verify != "always")
        await trial.warm()
        await trial.run(damages)
        return await trial.end(damages)


async def below_the_page_cache(
    tmp_path: Path, damages: int, verify: Verify
) -> dict[str, float | str]:
    async with (
        rotting_disk(tmp_path) as rotting,
        story(rotting.path, workers=2, limit_bytes=DISK_LIMIT_BYTES, more=settings(verify)) as told,
    ):
        trial = Trial(told, rotting.damage, seed=damages)
        await trial.warm()
        await trial.run(damages)
        return await trial.end(damages)


WAYS = {
    "through the file system": through_the_file_system,
    "below the page cache": below_the_page_cache,
}


@pytest.mark.parametrize("verify", ["disk-read", "always"])
@pytest.mark.parametrize("way", WAYS)
async def test_damage_is_found_and_healed(tmp_path: Path, way: str, verify: Verify) -> None:
    await WAYS[way](tmp_path, SAMPLE, verify)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_ten_thousand_damages(tmp_path: Path) -> None:
    figures = {}
    began = datetime.now(UTC)
    for way, trial in WAYS.items():
        (tmp_path / way).mkdir()
        figures[way] = await trial(tmp_path / way, MANY, "disk-read")
    figures["run"] = {
        "date": began.date().isoformat(),
        "seconds": round((datetime.now(UTC) - began).total_seconds()),
    }
    result = json.dumps(figures, indent=2) + "\n"
    await asyncio.to_thread(RESULTS.mkdir, exist_ok=True)
    await asyncio.to_thread((RESULTS / "damage.json").write_text, result)


async def test_rot_is_found_before_anybody_reads(tmp_path: Path) -> None:
    rotten = 10
    async with rotting_disk(tmp_path) as rotting:
        async with story(
            rotting.path, limit_bytes=DISK_LIMIT_BYTES, more=settings("disk-read")
        ) as told:
            await Trial(told, rotting.damage, seed=0).warm()
            files = sorted(told.node.cache.glob("chunks/*/*"))
        choice = random.Random(4)
        for file in files[:rotten]:
            await asyncio.to_thread(rotting.damage, file, choice)
        fast = "[cache]\nchunk_bytes = 256K\nscrub_rate = 1G\n"
        async with story(rotting.path, limit_bytes=DISK_LIMIT_BYTES, more=fast) as told:
            await told.counted("scrub_finished_timestamp_seconds", 1)
            samples = await told.idle()
            assert figure(samples, "scrubbed_chunks_total") == len(files)
            assert figure(samples, "scrub_damaged_total") == rotten
            assert figure(samples, "verify_failures_total") == rotten
            assert told.chunk_files() == len(files) - rotten


LONG_BYTES = 48 << 20  # more than sockets take of an answer that nobody reads


@pytest.mark.parametrize("verify", ["always", "disk-read", "never"])
async def test_files_overwritten_while_they_are_sent(tmp_path: Path, verify: Verify) -> None:
    """Nothing of it is sent any more; `always` has no harm come to what is on its way, either."""
    async with story(tmp_path, more=settings(verify)) as told:
        data = random_bytes(LONG_BYTES, seed=77)
        image = told.glance.add(data)
        assert await told.ask(image.id).body() == data
        await told.idle()
        slow = told.ask(image.id, paused=True)
        await slow.answered()
        await told.counted("served_bytes_total", 1, source="cache")
        files = list(told.node.cache.glob("chunks/*/*"))
        for file in files:
            await asyncio.to_thread(overwrite, file)
        sent = (
            int(
                figure(
                    await asyncio.to_thread(told.node.metrics), "served_bytes_total", source="cache"
                )
            )
            + CHUNK
        )
        assert sent < LONG_BYTES // 2
        slow.go_on()
        body = await slow.body()
        assert len(body) == len(data)
        assert body[sent:] == data[sent:]
        assert verify != "always" or body == data
        # Those of which nothing was read after that are found by the next reader.
        assert await told.ask(image.id).body() == data
        samples = await told.idle()
        assert figure(samples, "verify_failures_total") == len(files)
        assert figure(samples, "requests_total", result="bypass") == 0


async def test_rot_below_an_answer_that_is_being_sent_harms_nobody(tmp_path: Path) -> None:
    async with (
        rotting_disk(tmp_path) as rotting,
        story(rotting.path, limit_bytes=DISK_LIMIT_BYTES, more=settings("always")) as told,
    ):
        data = random_bytes(LONG_BYTES, seed=78)
        image = told.glance.add(data)
        assert await told.ask(image.id).body() == data
        await told.idle()
        slow = told.ask(image.id, paused=True)
        await slow.answered()
        await told.counted("served_bytes_total", 1, source="cache")
        choice = random.Random(3)
        for file in list(told.node.cache.glob("chunks/*/*")):
            await asyncio.to_thread(rotting.damage, file, choice)
        slow.go_on()
        assert await slow.body() == data
        assert figure(await told.idle(), "verify_failures_total") > 0
