"""What docs/jobs.md tells of the kinds of jobs is what the program does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from harness.program import free_port
from harness.waiting import passing
from registry.app import listening
from registry.upkeep import sync_database

PAGE = (Path(__file__).parents[3] / "docs/jobs.md").read_text()
DUE = re.compile(r'^cacheproxy_registry_jobs_due{kind="([^"]+)"} ', re.MULTILINE)


async def test_its_kinds(settings: Any, stores: Any) -> None:
    await sync_database(settings)
    port = free_port()
    told: list[str] = []
    async with (
        listening(replace(settings, metrics_port=port), stores),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as prometheus,
    ):
        while not told:
            async with prometheus.get("/metrics") as answer:
                told = DUE.findall(await answer.text())
            await passing(0.01)
    assert set(told) == set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE))
