"""What a node whose cache's disk was ill has to do as well as ever."""

from __future__ import annotations

from harness.images import random_bytes
from harness.story import CHUNK, Story, figure


async def recovered(told: Story) -> None:
    """Wait until the disk is normal again, and see that an image is stored, and then a hit."""
    await told.counted("disk_state", 1, state="normal")
    data = random_bytes(2 * CHUNK, seed=int(told.ask.asked))
    image = told.glance.add(data)
    stored = figure(await told.idle(), "chunks_stored_total")
    assert await told.ask(image.id).body() == data
    hits = await told.ended("hit")
    assert await told.metric("chunks_stored_total") == stored + 2
    assert await told.ask(image.id).body() == data
    assert await told.ended("hit") == hits + 1
