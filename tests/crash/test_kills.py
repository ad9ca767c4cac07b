"""The real processes are killed at every named step, and start again with everything right."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
from pathlib import Path

import pytest

from harness.inject.steering import Action, Moment
from harness.results import note
from harness.scene import ROOMY, TIGHT, Scene, scene
from harness.steps import NEVER, STEPS, Group, Kill, all_kills, all_names, some_kills
from harness.waiting import until

STARTING: tuple[Group, ...] = ("start", "migrate", "rebuild", "scrub")  # met as it starts
DAMAGED: tuple[Group, ...] = ("quarantine", "rebuild", "scrub")  # warm content is fetched again
SCRUBBED = "cacheproxy_scrub_finished_timestamp_seconds"
ROUNDS_MAX = 4  # of work until the step is met often enough


def limit_of(group: Group) -> int:
    """Return how much room a group's steps need, or must not have."""
    return TIGHT if group == "evict" else ROOMY


async def suffer(made: Scene, kill: Kill) -> None:
    """Run the program, kill it where it is said, and see that all is right after that."""
    everything = kill.action is Action.KILL_ALL
    if kill.step.endswith("_make_directory"):
        made.lose_directories()
    made.prepare(kill.group)
    if kill.group in STARTING:
        made.steering.arm(kill.step, kill.moment, kill.nth, kill.action)
        await made.start()
        await met(made, kill)
        await made.recovered(everything=everything)
    elif kill.group == "stop":
        await made.start()
        await made.work("stop")
        made.steering.arm(kill.step, kill.moment, kill.nth, kill.action)
        await made.stop()
        await met(made, kill)
        await made.start()
    else:
        await made.start()
        await worked(made, kill)
        await made.recovered(everything=everything)
    if not everything and not kill.of_worker:
        assert not made.lost, f"{kill}: clients lost {made.lost}"
    if kill.group == "scrub":
        await scrubbed(made)
    await made.look_through(warm_stays=made.limit_bytes == ROOMY and kill.group not in DAMAGED)
    await made.stop()


async def scrubbed(made: Scene) -> None:
    """Wait until the background check has come to its end."""
    metrics = made.node.metrics
    await asyncio.to_thread(until, "the end", lambda: metrics()[SCRUBBED] > 0)


async def worked(made: Scene, kill: Kill) -> None:
    """Have clients work until the step was met; what they caused may meet it a little later."""
    made.steering.arm(kill.step, kill.moment, kill.nth, kill.action)
    for _ in range(ROUNDS_MAX):
        await made.work(kill.group)
        if made.steering.fired:
            return
        made.steering.arm(kill.step, kill.moment, 1, kill.action)
    await met(made, kill)


async def met(made: Scene, kill: Kill) -> None:
    """Wait until the step was met."""
    await asyncio.to_thread(until, f"{kill} to be met", lambda: made.steering.fired)


@pytest.mark.parametrize("kill", some_kills(seed=1), ids=str)
async def test_a_kill(tmp_path: Path, kill: Kill) -> None:
    async with scene(tmp_path, limit_bytes=limit_of(kill.group)) as made:
        await made.warm_up()
        await suffer(made, kill)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", STEPS)
async def test_every_kill(tmp_path: Path, group: Group) -> None:
    failures: list[str] = []
    kills = [kill for kill in all_kills(seed=2) if kill.group == group]
    figures: dict[str, object] = {"steps": len(STEPS[group]), "kills": len(kills)}
    while kills:
        place = tmp_path / str(len(kills))
        place.mkdir()
        async with scene(place, limit_bytes=limit_of(group), seed=len(kills)) as made:
            await made.warm_up()
            while kills:
                kill = kills.pop()
                try:
                    await suffer(made, kill)
                except AssertionError as error:  # told at the end: the others are tried as well
                    failures.append(f"{kill}: {error}")
                    break
    figures["failures"] = failures
    await asyncio.to_thread(note, "crashes", f"{group}, at every step", figures)
    assert not failures, "\n".join(failures)


def test_every_step_exists() -> None:
    for step in all_names():
        module, _, name = step.partition(":")
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
        assert inspect.isroutine(found), step
    assert len(all_names()) == len(set(all_names()))


async def test_every_step_is_met(tmp_path: Path) -> None:
    missed = {(step, moment) for step in all_names() for moment in Moment} - NEVER
    for limit in (ROOMY, TIGHT):
        place = tmp_path / str(limit)
        place.mkdir()
        async with scene(place, limit_bytes=limit) as made:
            await made.warm_up()
            await made.start()
            working: tuple[Group, ...] = ("fill", "publish", "pin", "forget", "quarantine", "stop")
            for group in working if limit == ROOMY else ("evict",):
                await made.work(group)
            await made.stop()
            for group in STARTING if limit == ROOMY else ():
                made.prepare(group)
                await made.start()
                await made.settled()
                await scrubbed(made)
                await made.stop()
            missed -= {each for each in missed if made.steering.count(*each)}
            assert not made.lost
    assert not missed
