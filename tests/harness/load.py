"""Clients that download without a pause, and look at every byte.

async with load(told, images) as busy:
    ...
    await busy.downloads(10)   # so many more have ended since
# every one of them was right
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from harness.origin import OriginImage
from harness.story import Story

READERS = 3


class Load:
    """Some readers, each of whom asks for one random thing after the other."""

    def __init__(self, told: Story, images: Sequence[tuple[OriginImage, bytes]]) -> None:
        self._told = told
        self._images = images
        self._random = random.Random(7)
        self._ended = 0
        self._news = asyncio.Condition()
        self._stop = False

    def stop(self) -> None:
        """Have every reader end with what he is at."""
        self._stop = True

    async def downloads(self, count: int) -> None:
        """Wait until so many more have ended well."""
        goal = self._ended + count
        async with self._news:
            await self._news.wait_for(lambda: self._ended >= goal)

    async def read(self) -> None:
        """Be a reader."""
        while not self._stop:
            image, data = self._random.choice(self._images)
            start, stop = 0, len(data)
            wanted = None
            if self._random.random() < 0.5:
                start = self._random.randrange(len(data))
                stop = self._random.randrange(start, len(data)) + 1
                wanted = f"bytes={start}-{stop - 1}"
            download = self._told.ask(image.id, wanted)
            body = await download.body()
            assert download.status == (206 if wanted else 200), download
            assert body == data[start:stop], f"wrong bytes: {download}"
            download.data.clear()
            async with self._news:
                self._ended += 1
                self._news.notify_all()


@asynccontextmanager
async def load(
    told: Story, images: Sequence[tuple[OriginImage, bytes]], readers: int = READERS
) -> AsyncIterator[Load]:
    """Have readers download until the context is left; the first wrong byte fails it."""
    busy = Load(told, images)
    async with asyncio.TaskGroup() as group:
        for _ in range(readers):
            group.create_task(busy.read())
        try:
            yield busy
        finally:
            busy.stop()
