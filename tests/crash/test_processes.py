"""A process of the node stops or dies at some moment; the others go on, and nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from pathlib import Path

import psutil
import pytest

from harness.images import random_bytes
from harness.inject.steering import Action, Moment
from harness.node import async_node
from harness.origin import VERSIONS
from harness.raw_origin import Peer, raw_origin
from harness.results import note
from harness.scene import END_SECONDS, ROOMY, TIGHT, WORKERS, Scene, scene
from harness.steps import Group, Kill
from harness.story import STARTED, story
from harness.waiting import until

STOPS: tuple[tuple[Group, str], ...] = (
    ("link", "cacheproxy.store.files:ChunkFiles._publish"),
    ("index", "cacheproxy.store.index:IndexFile.apply"),
    ("evict", "cacheproxy.store.departures:Departures._leave"),
    ("quarantine", "cacheproxy.store.files:ChunkFiles.set_aside"),
)
VICTIMS = ("keeper", "keeper", "worker 0", "worker 1", "all")
LOAD_BYTES = 6 << 20  # served between two kills, at most
BODY = random_bytes(3 << 20, seed=7)
DATA = random_bytes(5_000_321, seed=8)


async def stopped(made: Scene, group: Group, step: str) -> psutil.Process:
    """Have clients work until the keeper stands still at a step; all of them get their bytes."""
    made.steering.arm(step, Moment.BEFORE, 1, Action.STOP)
    await made.work(group)
    await asyncio.to_thread(until, f"{step} to be met", lambda: made.steering.fired)
    return psutil.Process(made.steering.fired)


async def lost(made: Scene, name: str) -> None:
    """Kill a process, and wait until another one has its place: until then it is given clients."""
    victim = made.pid(name)
    os.kill(victim, signal.SIGKILL)
    await asyncio.to_thread(until, f"another {name}", lambda: made.pid(name) != victim)


@pytest.mark.parametrize(("group", "step"), STOPS, ids=lambda value: value.rpartition(".")[2])
async def test_the_keeper_stands_still(tmp_path: Path, group: Group, step: str) -> None:
    async with scene(tmp_path, limit_bytes=TIGHT if group == "evict" else ROOMY) as made:
        await made.warm_up()
        await made.start()
        keeper = await stopped(made, group, step)
        await made.work("fill")
        assert not made.lost
        keeper.resume()  # or the supervisor has replaced it
        await made.look_through(warm_stays=group in ("link", "index"))
        await made.stop()


async def test_a_worker_dies_while_the_keeper_stands_still(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        await made.warm_up()
        await made.start()
        keeper = await stopped(made, "link", "cacheproxy.store.files:ChunkFiles._publish")
        assert not made.lost
        await lost(made, "worker 0")
        keeper.resume()
        await made.look_through()
        await made.stop()


async def test_a_worker_stands_still(tmp_path: Path) -> None:
    more = "[DEFAULT]\nhang_seconds = 3\n"
    async with story(tmp_path, workers=3, more=more) as told:
        image = told.glance.add(DATA)
        hold = image.hold_at(2 << 20)
        readers = [told.ask(image.id) for _ in range(9)]
        await hold.reached.wait()
        for reader in readers:
            await reader.received(1)
        victim = told.process("worker 1")
        victim.suspend()
        hold.release.set()
        endings = [await reader.ended() for reader in readers]
        assert 3 <= endings.count("whole") < 9  # it had its share, and was replaced with that
        assert all(DATA.startswith(reader.data) for reader in readers)
        await told.replaced("worker 1", victim)
        told.ask.asked -= 9 - endings.count("whole")  # their process did not live to count them
        await told.idle()
        assert await told.ask(image.id).body() == DATA
        assert image.sent_bytes == len(DATA)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_an_upload_does_not_notice_the_keeper(tmp_path: Path, how: signal.Signals) -> None:
    half, rest = asyncio.Event(), asyncio.Event()
    taken = bytearray()

    async def upstream(peer: Peer) -> None:
        while head := await peer.head():
            if head.method != "PUT":
                body = json.dumps(VERSIONS).encode()
                fields = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                await peer.send(b"HTTP/1.1 300 Multiple Choices\r\n" + fields + body)
                continue
            taken.extend(await peer.reader.readexactly(len(BODY) // 2))
            half.set()
            await rest.wait()
            taken.extend(await peer.reader.readexactly(len(BODY) - len(taken)))
            await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with raw_origin(upstream) as glance, async_node(tmp_path, glance.url) as node:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(node.url.rpartition(":")[2])
        )
        writer.write(
            b"PUT /v2/images/some/file HTTP/1.1\r\nHost: node\r\n"
            b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        )
        writer.write(BODY[: len(BODY) // 2])
        await half.wait()
        log = await asyncio.to_thread(node.program.log.read_text)
        keeper = int(dict(STARTED.findall(log))["keeper"])
        os.kill(keeper, how)
        writer.write(BODY[len(BODY) // 2 :])
        rest.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert taken == BODY
        writer.close()
        await writer.wait_closed()
        if how is signal.SIGSTOP:
            os.kill(keeper, signal.SIGCONT)


async def kill_at_random(directory: Path, limit: int, rounds: int, seed: int) -> None:
    """Kill somebody at some moment, while clients work, again and again."""
    async with scene(directory, limit_bytes=limit, seed=seed) as made:
        await made.warm_up()
        for number in range(rounds):
            chance = random.Random(seed + number)
            victim = chance.choice(VICTIMS)
            await made.start()
            works = [asyncio.create_task(made.work(group)) for group in groups(limit, chance)]
            enough = made.served + chance.randrange(LOAD_BYTES)
            while made.served < enough and not all(work.done() for work in works):
                await asyncio.wait(works, timeout=0.05)
            everything = victim == "all"
            if everything:
                os.killpg(made.node.program.process.pid, signal.SIGKILL)
            else:
                await lost(made, victim)
            for work in works:
                await work
            if everything:
                await asyncio.to_thread(made.node.program.process.wait, END_SECONDS)
                await made.stop()
                await made.start()
            assert victim != "keeper" or not made.lost, (seed + number, made.lost)
            try:
                await made.look_through(warm_stays=limit == ROOMY)
            except AssertionError as error:
                error.add_note(f"{victim}, seed {seed + number}")
                raise
            await made.stop()


def groups(limit: int, chance: random.Random) -> list[Group]:
    """Choose what clients do."""
    possible: tuple[Group, ...] = ("fill", "send") if limit == ROOMY else ("evict", "fill")
    return [chance.choice(possible) for _ in range(chance.randint(1, WORKERS))]


@pytest.mark.parametrize("limit", [ROOMY, TIGHT], ids=["roomy", "tight"])
async def test_somebody_is_killed(tmp_path: Path, limit: int) -> None:
    await kill_at_random(tmp_path, limit, rounds=2, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("limit", [ROOMY, TIGHT], ids=["roomy", "tight"])
async def test_somebody_is_killed_again_and_again(tmp_path: Path, limit: int) -> None:
    await kill_at_random(tmp_path, limit, rounds := 60, seed=1000)
    part = f"kills at random moments, {'room for all' if limit == ROOMY else 'evicting'}"
    await asyncio.to_thread(note, "crashes", part, {"kills": rounds, "failures": []})


def test_a_kill_says_what_it_is() -> None:
    kill = Kill("link", STOPS[0][1], Moment.BEFORE, 2, Action.KILL)
    assert str(kill) == "KILL before store.files:ChunkFiles._publish #2"
