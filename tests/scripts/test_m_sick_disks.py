"""A small real disk that fails, turns read-only, stands still or goes away, while clients download."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.images import random_bytes
from harness.load import load
from harness.origin import OriginImage
from harness.program import REPOSITORY
from harness.recovery import recovered
from harness.smalldisk import Kind, small_disk
from harness.story import CHUNK, Story, figure, story

QUICK = "[cache]\nfree_bytes_min = 0\nfree_inodes_min = 0\ndisk_hang_seconds = 1\n"
LIMIT_BYTES = 100 << 20
HARNESS = REPOSITORY / "tests/harness"


def add(told: Story, count: int = 8) -> list[tuple[OriginImage, bytes]]:
    contents = [random_bytes(3 * CHUNK + 77, seed=400 + number) for number in range(count)]
    return [(told.glance.add(data), data) for data in contents]


async def bypassed(told: Story) -> None:
    await told.counted("disk_state", 1, state="bypass")


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_every_operation_fails(tmp_path: Path, kind: Kind) -> None:
    """EIO, and SIGBUS for whoever maps a file, until the disk is mounted anew."""
    with small_disk(tmp_path, kind) as disk:
        cache = disk.path / "cache"
        async with story(tmp_path, cache=cache, limit_bytes=LIMIT_BYTES, more=QUICK) as told:
            images = add(told)
            async with load(told, images) as busy:
                await busy.downloads(10)
                await asyncio.to_thread(disk.shut_down)
                await bypassed(told)
                await busy.downloads(10)
                # The keeper lets go of it, so that it can be unmounted.
                await asyncio.to_thread(disk.unmount)
                await busy.downloads(10)
                await asyncio.to_thread(disk.mount)
                await told.counted("disk_state", 1, state="normal")
                await busy.downloads(10)
            await recovered(told)
            samples = await told.idle()
            assert figure(samples, "requests_total", result="error") == 0


async def test_it_turns_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path, "ext4") as disk:
        cache = disk.path / "cache"
        async with story(tmp_path, cache=cache, limit_bytes=LIMIT_BYTES, more=QUICK) as told:
            images = add(told)
            for image, data in images[:4]:
                assert await told.ask(image.id).body() == data
            await told.idle()
            await asyncio.to_thread(disk.turn_read_only)
            async with load(told, images) as busy:
                await told.counted("disk_state", 1, state="degraded")
                await busy.downloads(10)
            hits = figure(await told.idle(), "requests_total", result="hit")
            for image, data in images[:4]:
                assert await told.ask(image.id).body() == data
            assert await told.ended("hit") == hits + 4, "what is cached is served"
            async with load(told, images) as busy:
                await asyncio.to_thread(disk.detach)
                await bypassed(told)
                await asyncio.to_thread(disk.released)
                await asyncio.to_thread(disk.repair)
                await asyncio.to_thread(disk.mount)
                await told.counted("disk_state", 1, state="normal")
                await busy.downloads(10)
            await recovered(told)
            assert await told.ended("error") == 0


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_it_stands_still(tmp_path: Path, kind: Kind) -> None:
    """Whoever writes waits, and cannot even be killed; for LMDB to read is to write, too."""
    with small_disk(tmp_path, kind) as disk:
        cache = disk.path / "cache"
        more = QUICK + "[DEFAULT]\nhang_seconds = 3\n"
        async with story(tmp_path, cache=cache, limit_bytes=LIMIT_BYTES, more=more) as told:
            images = add(told, count=40)
            async with load(told, images) as busy:
                await busy.downloads(5)
                await asyncio.to_thread(disk.freeze)
                try:
                    await bypassed(told)
                    await busy.downloads(20)
                finally:
                    await asyncio.to_thread(disk.thaw)
                await told.counted("disk_state", 1, state="normal")
                await busy.downloads(10)
            await recovered(told)
            assert await told.ended("error") == 0


async def test_reads_hang(tmp_path: Path) -> None:
    """A fake: all that is read from the disk itself hangs, in workers and keeper alike."""
    hangs = tmp_path / "hangs"
    fake = {
        "PYTHONPATH": f"{HARNESS / 'fakehangs'}:{REPOSITORY}:{REPOSITORY / 'tests'}",
        "FAKE_HANGS_WHILE": str(hangs),
    }
    # Verified each time, so that nothing comes from memory.
    more = QUICK + "verify = always\n"
    async with story(tmp_path, workers=2, more=more, environment=fake) as told:
        images = add(told)
        for image, data in images:
            assert await told.ask(image.id).body() == data
        async with load(told, images, readers=8) as busy:
            await busy.downloads(10)
            hangs.touch()
            await bypassed(told)
            await busy.downloads(40)
            hangs.unlink()
            await told.counted("disk_state", 1, state="normal")
            await busy.downloads(10)
        await recovered(told)
        assert await told.ended("error") == 0


async def test_the_directory_is_moved_away_and_back(tmp_path: Path) -> None:
    cache, away = tmp_path / "cache", tmp_path / "away"
    async with story(tmp_path, limit_bytes=LIMIT_BYTES, more=QUICK) as told:
        images = add(told)
        async with load(told, images) as busy:
            await busy.downloads(10)
            cache.rename(away)
            await bypassed(told)
            await busy.downloads(10)
            assert not cache.exists(), "nobody makes another one meanwhile"
            away.rename(cache)
            await told.counted("disk_state", 1, state="normal")
            await busy.downloads(10)
        await recovered(told)
        samples = await told.idle()
        assert figure(samples, "requests_total", result="error") == 0
        assert figure(samples, "child_starts_total", kind="keeper") == 1


async def test_the_directory_stays_away_for_long_and_comes_back(tmp_path: Path) -> None:
    cache, away = tmp_path / "cache", tmp_path / "away"
    async with story(tmp_path, limit_bytes=LIMIT_BYTES, more=QUICK) as told:
        images = add(told)
        for image, data in images:
            assert await told.ask(image.id).body() == data
        await told.idle()
        cache.rename(away)
        async with load(told, images) as busy:
            await told.counted("child_starts_total", 2, kind="keeper")
            await busy.downloads(10)
            assert not cache.exists(), "nobody makes another one meanwhile"
            away.rename(cache)
            await told.counted("disk_state", 1, state="normal")
        await recovered(told)
        sent = sum(image.sent_bytes for image, _ in images)
        for image, data in images:
            assert await told.ask(image.id).body() == data
        assert sum(image.sent_bytes for image, _ in images) == sent, "what was warm still is"
        assert await told.ended("error") == 0


@pytest.mark.parametrize("deleted", ["contents", "directory", "chunks"])
async def test_the_directory_is_deleted_and_made_anew(tmp_path: Path, deleted: str) -> None:
    cache = tmp_path / "cache"
    async with story(tmp_path, limit_bytes=LIMIT_BYTES, more=QUICK) as told:
        images = add(told)
        async with load(told, images) as busy:
            await busy.downloads(10)
            if deleted == "chunks":
                (cache / "chunks").rename(tmp_path / "gone")
            else:
                cache.rename(tmp_path / "gone")
                if deleted == "directory":
                    await bypassed(told)
                cache.mkdir()
            await told.counted("child_starts_total", 2, kind="keeper")
            await told.counted("disk_state", 1, state="normal")
            await busy.downloads(10)
        await recovered(told)
        assert await told.ended("error") == 0


async def test_nothing_is_written_where_its_disk_was_mounted(tmp_path: Path) -> None:
    with small_disk(tmp_path, "tmpfs") as disk:
        cache = disk.path
        async with story(tmp_path, cache=cache, limit_bytes=LIMIT_BYTES, more=QUICK) as told:
            images = add(told)
            async with load(told, images) as busy:
                await busy.downloads(10)
                await asyncio.to_thread(disk.detach)
                await told.counted("child_starts_total", 2, kind="keeper")
                await busy.downloads(10)
                assert not list(cache.iterdir())
                await asyncio.to_thread(disk.mount)
                await told.counted("disk_state", 1, state="normal")
                await busy.downloads(10)
            await recovered(told)
            assert await told.ended("error") == 0
