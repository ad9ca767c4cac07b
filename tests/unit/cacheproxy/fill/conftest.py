"""Fixtures of the tests of fills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy.fill import patience, published
from harness.fill_case import Case, started
from harness.origin import Origin, origin


@pytest.fixture
async def glance() -> AsyncIterator[Origin]:
    """An origin without images."""
    async with origin() as running:
        yield running


@pytest.fixture
async def case(glance: Origin, tmp_path: Path) -> AsyncIterator[Case]:
    """A cache that completes what it begins, the default."""
    async with started(glance, tmp_path / "cache") as running:
        yield running


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(published, "BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr(patience, "BACKOFF_SECONDS", 0.0)
