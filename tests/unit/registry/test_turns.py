"""Turns at jobs that are as slow as what they wait for: nobody has all of them."""

from __future__ import annotations

import asyncio

import pytest

from registry.domain.job import Job
from registry.imports.kinds import IMPORT, OUTSIDE, kind_of
from registry.service.jobs import LaterError
from registry.service.turns import Turns


def job_of(project: str | None) -> Job:
    return Job("1", OUTSIDE, "image", {"project": project}, 1, 1)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        *(("web-download", OUTSIDE), ("glance-download", OUTSIDE)),
        *(("glance-direct", IMPORT), ("copy-image", IMPORT)),
    ],
)
def test_what_comes_from_outside(method: str, kind: str) -> None:
    assert kind_of(method) == kind


async def test_no_project_has_them_all() -> None:
    let = asyncio.Event()
    done: list[str | None] = []

    async def handler(job: Job) -> None:
        await let.wait()
        done.append(job.arguments["project"])

    turns = Turns(handler, "project", 2)
    async with asyncio.TaskGroup() as group:
        for project in ("p1", "p1", "p2", None):
            group.create_task(turns(job_of(project)))
        await asyncio.sleep(0)
        with pytest.raises(LaterError):
            await turns(job_of("p1"))
        let.set()
    await turns(job_of("p1"))
    assert sorted(done, key=str) == [None, "p1", "p1", "p1", "p2"]
    assert not turns._running


async def test_a_failure_gives_its_turn_back() -> None:
    async def handler(job: Job) -> None:
        raise KeyError(job.id)

    turns = Turns(handler, "project", 1)
    for _ in range(2):
        with pytest.raises(KeyError):
            await turns(job_of("p1"))
