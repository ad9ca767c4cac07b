"""Fixtures of the tests of what answers requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.lane_case import CALLER, World


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """One whose files are open, and that knows the caller."""
    made = World(tmp_path, monkeypatch)
    await made.side.know(CALLER)
    yield made
    for client in made.clients:
        client.leave()
    await made.gone()
    await made.side.close()
    made.files.close()
