"""An operator's commands against the real program."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cacheproxy.admin.results import (
    EvictResult,
    GcResult,
    ImageRow,
    OfflineResult,
    PinResult,
    PrefetchResult,
    PurgeResult,
    ShowResult,
    StatusResult,
    Told,
    VerifyResult,
)
from harness.commands import Commands, ended
from harness.damage import rot
from harness.images import random_bytes
from harness.origin import OriginImage
from harness.story import CHUNK, Story, story
from harness.waiting import until


class Listed(Told, frozen=True, kw_only=True):
    """What `list --json` prints."""

    known: int
    images: list[ImageRow]


@asynccontextmanager
async def operated(directory: Path, **options: Any) -> AsyncIterator[tuple[Story, Commands]]:
    """Run a story, with commands once the daemon takes them."""
    async with story(directory, **options) as told:
        path = told.node.cache / "admin.sock"
        await asyncio.to_thread(until, "the admin socket", path.exists)
        yield told, Commands(directory / "cacheproxy.conf")


def remains(told: Story) -> list[Path]:
    return sorted(path for path in told.node.cache.glob("chunks/*/*") if path.is_file())


async def test_the_state_of_a_node(tmp_path: Path) -> None:
    async with operated(tmp_path, workers=2) as (told, commands):
        image = told.glance.add(random_bytes(3 * CHUNK, seed=1))
        for _ in range(3):
            await told.ask(image.id).body()
        await told.idle()
        status = await commands.told(StatusResult, "status")
        assert status.directory == str(told.node.cache)
        assert status.disk.state == "normal"
        assert status.space.used_bytes == await told.metric("cache_bytes")
        assert status.space.chunk_bytes == 3 * CHUNK
        assert (status.counts.chunks, status.requests.miss, status.requests.hit) == (3, 1, 2)
        processes = status.processes
        assert processes.supervisor_pid == told.node.program.process.pid
        assert processes.keeper_pid == told.process("keeper").pid
        assert [each.pid for each in processes.workers] == [
            told.process(f"worker {number}").pid for number in range(2)
        ]
        assert 0 < status.uptime_seconds < 3600
        assert "hit" in await commands.run("status")
        mode = stat.S_IMODE((told.node.cache / "admin.sock").stat().st_mode)
        assert mode == 0o660


async def test_images_are_listed_and_shown(tmp_path: Path) -> None:
    async with operated(tmp_path) as (told, commands):
        whole = told.glance.add(random_bytes(4 * CHUNK, seed=1))
        small = told.glance.add(random_bytes(1000, seed=2))
        for image in (whole, small):
            await told.ask(image.id).body()
        await told.idle()
        listed = await commands.told(Listed, "list")
        assert [row.image for row in listed.images] == [whole.id, small.id]
        assert [row.cached_bytes for row in listed.images] == [4 * CHUNK, 1000]
        listed = await commands.told(Listed, "list", "--sort", "percent", "--limit", "1")
        assert (listed.known, len(listed.images)) == (2, 1)
        shown = await commands.told(ShowResult, "show", whole.id)
        assert shown.hash_value == whole.record["os_hash_value"]
        assert [(each.start, each.stop) for each in shown.cached.ranges] == [(0, 4 * CHUNK)]
        assert (await commands.end("show", "unknown")).code == 1


async def test_what_is_evicted_is_gone_and_comes_back(tmp_path: Path) -> None:
    async with operated(tmp_path) as (told, commands):
        head, data = random_bytes(2 * CHUNK, seed=1), random_bytes(4 * CHUNK, seed=2)
        image, other = told.glance.add(head + data), told.glance.add(head)
        for each in (image, other):
            await told.ask(each.id).body()
        await told.idle()
        done = await commands.told(EvictResult, "evict", image.id)
        (evicted,) = done.images
        # A worker may keep some open for repeated hits a little longer.
        assert evicted.dropped_chunks + evicted.held_chunks == 4
        assert evicted.shared_chunks == 2
        await told.idle()
        assert len(remains(told)) == 2
        assert await told.ask(image.id).body() == head + data
        await told.idle()
        assert len(remains(told)) == 6


async def test_an_image_is_prefetched_with_a_token_that_nobody_sees(tmp_path: Path) -> None:
    async with operated(tmp_path) as (told, commands):
        data = random_bytes(5 * CHUNK + 7, seed=1)
        image = told.glance.add(data)
        image.tokens = {"s3cret"}
        refused = await commands.told(PrefetchResult, "prefetch", image.id, code=1)
        assert "401" in str(refused.images[0].error)
        done = await commands.told(PrefetchResult, "prefetch", image.id, token="s3cret")
        assert done.images[0].cached_bytes == len(data)
        sent = image.sent_bytes
        token = tmp_path / "token"
        token.write_text("s3cret\n")
        printed = await commands.run("prefetch", "--os-token-file", str(token), image.id)
        assert printed == f"{image.id}: 100 % of 5.0 MiB is cached, nothing was missing\n"
        reader = told.ask(image.id, headers={"X-Auth-Token": "s3cret"})
        assert await reader.body() == data
        assert image.sent_bytes == sent
        assert await told.ended("hit") == 1
        assert "s3cret" not in told.node.program.log.read_text()


async def test_ctrl_c_ends_a_prefetch_and_keeps_what_came(tmp_path: Path) -> None:
    more = "[cache]\ncomplete_in_background = false\n"
    async with operated(tmp_path, more=more) as (told, commands):
        data = random_bytes(6 * CHUNK, seed=1)
        image = told.glance.add(data)
        hold = image.hold_at(4 * CHUNK)
        process = await commands.start("prefetch", image.id)
        await hold.reached.wait()
        (fill,) = (await commands.told(StatusResult, "status")).fills
        assert (fill.image, fill.readers) == (image.id, 1)
        process.send_signal(signal.SIGINT)
        done = await ended(process)
        assert done.code == 130
        assert "Traceback" not in done.err
        hold.release.set()
        await told.idle()
        assert await told.ask(image.id).body() == data


async def test_a_pinned_image_stays_when_room_is_needed(tmp_path: Path) -> None:
    async with operated(tmp_path, limit_bytes=24 * CHUNK) as (told, commands):
        kept = told.glance.add(random_bytes(4 * CHUNK, seed=1))
        assert (await commands.told(PinResult, "pin", kept.id)).changed
        await commands.run("prefetch", kept.id)
        for seed in range(2, 6):
            await told.ask(told.glance.add(random_bytes(8 * CHUNK, seed=seed)).id).body()
        shown = await commands.told(ShowResult, "show", kept.id)
        assert (shown.pinned, shown.cached.chunks) == (True, 4)
        done = await commands.told(EvictResult, "evict", kept.id, code=1)
        assert "pinned" in str(done.images[0].error)
        assert not (await commands.told(PinResult, "unpin", kept.id)).pinned


async def test_a_purge_has_the_upstream_asked_again(tmp_path: Path) -> None:
    """Nobody is believed any more, in any worker, whatever `permission_seconds` says."""
    more = "[upstream]\npermission_seconds = 3600\n"
    async with operated(tmp_path, workers=3, more=more) as (told, commands):
        first, second = (
            told.glance.add(random_bytes(2 * CHUNK, seed=seed), tokens={"member"})
            for seed in (1, 2)
        )

        async def statuses(image: OriginImage) -> set[int]:
            """Ask so often at once that every worker answers some."""
            asked = [told.ask(image.id, token="member") for _ in range(9)]
            await asyncio.gather(*(each.body() for each in asked))
            return {each.status for each in asked}

        assert await statuses(first) == await statuses(second) == {200}
        first.tokens = second.tokens = set()
        assert await statuses(first) == await statuses(second) == {200}
        done = await commands.told(PurgeResult, "purge", first.id)
        assert (done.image, done.workers) == (first.id, 3)
        while await statuses(first) != {403}:
            pass
        assert await statuses(second) == {200}
        assert "all images" in await commands.run("purge")
        while await statuses(second) != {403}:
            pass


async def test_damage_is_found_on_demand_and_offline(tmp_path: Path) -> None:
    async with operated(tmp_path) as (told, commands):
        data = random_bytes(6 * CHUNK, seed=1)
        image = told.glance.add(data)
        await told.ask(image.id).body()
        await told.idle()
        first, second, *_ = remains(told)
        rot(first)
        done = await commands.told(VerifyResult, "verify", image.id, code=1)
        assert (done.chunks, done.damaged_chunks, done.bad) == (6, 1, [first.name])
        assert await told.ask(image.id).body() == data
        assert (await commands.told(VerifyResult, "verify")).damaged_chunks == 0
        assert (await commands.told(GcResult, "gc")).quarantine_disk_bytes == CHUNK
        assert "in use by another" in (await commands.end("verify", "--offline")).err
        rot(second)
    looked = await commands.told(OfflineResult, "verify", "--offline", code=1)
    assert (looked.chunks, looked.damaged_chunks, looked.set_aside_chunks) == (6, 1, 0)
    mended = await commands.told(OfflineResult, "verify", "--offline", "--repair", code=1)
    assert mended.set_aside_chunks == 1
    printed = await commands.end("verify", "--offline")
    assert "1 chunk missing" in printed.out  # the next start settles that
    assert (await commands.end("status")).code == 3


async def test_another_keeper_answers_in_the_place_of_a_lost_one(tmp_path: Path) -> None:
    async with operated(tmp_path) as (told, commands):
        keeper = told.process("keeper")
        keeper.kill()
        await told.replaced("keeper", keeper)

        while (done := await commands.end("status")).code == 3:
            assert "cacheproxy" in done.err
        assert done.code == 0
        assert "(started again once)" in done.out


async def test_a_socket_elsewhere_with_a_long_path(tmp_path: Path) -> None:
    directory = tmp_path.joinpath(*["d" * 60] * 3)
    directory.mkdir(parents=True)
    path = directory / "control.sock"
    more = f"[DEFAULT]\nadmin_socket = {path}\n"
    async with story(tmp_path, more=more) as told:
        await asyncio.to_thread(until, "the admin socket", path.exists)
        commands = Commands(tmp_path / "cacheproxy.conf")
        assert (await commands.told(StatusResult, "status")).disk.state == "normal"
        assert not (told.node.cache / "admin.sock").exists()
    assert os.listdir(directory) == []  # noqa: PTH208  a test may block
