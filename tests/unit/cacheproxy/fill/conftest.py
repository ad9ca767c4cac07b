"""Fixtures of the tests of fills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

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
