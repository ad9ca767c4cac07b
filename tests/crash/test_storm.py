"""The upstream and the node's processes are killed and frozen at random moments under load.

Every finished download is right, no request outlasts its deadline, no change is sent twice, all
recover by themselves, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.storm import storm

RESULTS = Path(__file__).parents[1] / "results"
SAMPLE_SECONDS = 10
LONG_SECONDS = 300


async def test_a_gust(tmp_path: Path) -> None:
    async with storm(tmp_path, seed=1) as wild:
        await wild.rage(SAMPLE_SECONDS)
        figures = await wild.calm()
    assert figures["faults"]


@pytest.mark.long
@pytest.mark.timeout(LONG_SECONDS + 300)
async def test_five_minutes_of_storm(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    async with storm(tmp_path, seed=2) as wild:
        await wild.rage(LONG_SECONDS)
        figures = await wild.calm()
    figures["run"] = {
        "date": began.date().isoformat(),
        "seconds": round((datetime.now(UTC) - began).total_seconds()),
    }
    result = json.dumps(figures, indent=2) + "\n"
    await asyncio.to_thread(RESULTS.mkdir, exist_ok=True)
    await asyncio.to_thread((RESULTS / "storm.json").write_text, result)
