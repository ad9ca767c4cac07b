"""What a node whose cache's disk was ill has to do as well as ever."""

from __future__ import annotations

import itertools

from harness.images import random_bytes
from harness.origin import OriginImage
from harness.story import CHUNK, Story, figure


async def recovered(told: Story) -> None:
    """Wait until an image is stored again, and see that it is a hit then.

    A disk that has just got well may be taken for ill once more, by a look that began before.
    """
    for seed in itertools.count(1000):
        await told.counted("disk_state", 1, state="normal")
        data = random_bytes(2 * CHUNK, seed=seed)
        image = told.glance.add(data)
        before = figure(await told.idle(), "chunks_stored_total")
        assert await told.ask(image.id).body() == data
        if figure(await told.idle(), "chunks_stored_total") == before + 2:
            await _is_a_hit(told, image, data)
            return


async def _is_a_hit(told: Story, image: OriginImage, data: bytes) -> None:
    hits = await told.ended("hit")
    assert await told.ask(image.id).body() == data
    assert await told.ended("hit") == hits + 1
