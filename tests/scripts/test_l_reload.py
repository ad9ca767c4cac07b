"""SIGHUP: the limit changes under load; what is wrong, or needs a new start, is said."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from harness.images import random_bytes
from harness.story import Story, disk_bytes, story
from harness.waiting import until

MIB = 1 << 20
BEFORE, AFTER = 64 * MIB, 24 * MIB


def reload(told: Story, *changes: tuple[str, str]) -> None:
    """Change the configuration and have it read again."""
    file = told.node.cache.parent / "cacheproxy.conf"
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    told.node.program.process.send_signal(signal.SIGHUP)


async def logged(told: Story, line: str) -> None:
    log = told.node.program.log
    await asyncio.to_thread(until, f"{line!r} in the log", lambda: line in log.read_text())


async def test_a_lower_limit_shrinks_the_cache_while_it_serves(tmp_path: Path) -> None:
    async with story(tmp_path, limit_bytes=BEFORE, workers=2) as told:
        contents = [random_bytes(9 * MIB, seed=number) for number in range(6)]
        images = [told.glance.add(data) for data in contents]
        for image, data in zip(images, contents, strict=True):
            assert await told.ask(image.id).body() == data
        assert await told.metric("cache_bytes") > AFTER
        slow = told.ask(images[5].id, paused=True)
        await slow.answered()
        reload(told, (f"image_cache_size = {BEFORE}", f"image_cache_size = {AFTER}"))
        readers = [told.ask(image.id) for image in images[:4]]
        for reader, data in zip(readers, contents, strict=False):
            assert await reader.body() == data
        slow.go_on()
        assert await slow.body() == contents[5]
        told.limit_bytes = AFTER
        await asyncio.to_thread(
            until, "the cache to shrink", lambda: disk_bytes(told.node.cache) <= AFTER
        )
        assert await told.metric("cache_limit_bytes") == AFTER
        await told.idle()
        # A keeper that comes later knows it as well.
        keeper = told.process("keeper")
        keeper.kill()
        await told.replaced("keeper", keeper)
        await told.counted("cache_limit_bytes", AFTER)
        assert await told.metric("cache_limit_bytes") == AFTER
        reload(told, (f"image_cache_size = {AFTER}", f"image_cache_size = {BEFORE}"))
        told.limit_bytes = BEFORE
        await told.counted("cache_limit_bytes", BEFORE)


async def test_what_is_wrong_changes_nothing(tmp_path: Path) -> None:
    async with story(tmp_path, limit_bytes=BEFORE) as told:
        limit = f"image_cache_size = {BEFORE}"
        reload(told, (limit, "image_cache_sice = 1G"))
        await logged(told, "nothing is changed: ")
        assert "did you mean image_cache_size" in told.node.program.log.read_text()
        reload(told, ("image_cache_sice = 1G", "image_cache_size = 1M"))
        await logged(told, "nothing is changed: [cache] image_cache_size = 1048576 is too small")
        keeper = told.process("keeper")
        keeper.kill()
        await told.replaced("keeper", keeper)
        await told.counted("cache_limit_bytes", BEFORE)
        assert await told.metric("cache_limit_bytes") == BEFORE
        reload(told, ("image_cache_size = 1M", f"{limit}\nchunk_bytes = 4MiB"))
        await logged(told, "[cache] chunk_bytes has changed: it takes effect at the next start")
        data = random_bytes(3 * MIB, seed=1)
        image = told.glance.add(data)
        assert await told.ask(image.id).body() == data
