"""docs/authorisation.md tells what the program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from cacheproxy.asking import RIGHT_RETRY_SECONDS, WARNING_SECONDS
from cacheproxy.config import UpstreamSettings
from cacheproxy.core.judgement import MARKS_OF_CACHES, REFUSALS, REQUEST_ID
from cacheproxy.metrics import RECENTLY_ALLOWED
from cacheproxy.permission import PATIENCE_SECONDS
from cacheproxy.upstream import UNSATISFIABLE_RANGE

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs/authorisation.md").read_text()
TEXT = " ".join(PAGE.split())
DEFAULTS = UpstreamSettings("http://glance")


@pytest.mark.parametrize(
    "told",
    [
        f"Range: {UNSATISFIABLE_RANGE}",
        f"`[upstream] permission_seconds` ({DEFAULTS.permission_seconds:g})",
        f"`recently_allowed_seconds` ({DEFAULTS.recently_allowed_seconds:g})",
        f"`{DEFAULTS.on_upstream_failure}` (the default)",
        f"longer than {PATIENCE_SECONDS:g} seconds",
        ", ".join(map(str, REFUSALS)),
        f"`{REQUEST_ID}`",
        f"`{RECENTLY_ALLOWED.name}`",
        *(f"`{name.title()}`" for name in sorted(MARKS_OF_CACHES)),
    ],
)
def test_it_names_what_holds(told: str) -> None:
    assert told in TEXT


def test_its_intervals() -> None:
    assert ("once a minute" in TEXT, RIGHT_RETRY_SECONDS) == (True, 60.0)
    assert ("every ten minutes" in TEXT, WARNING_SECONDS) == (True, 600.0)


def test_what_it_refers_to_is_there() -> None:
    assert (REPOSITORY / "bench/results/refusals.json").exists()
    assert "bench/results/refusals.json" in PAGE
