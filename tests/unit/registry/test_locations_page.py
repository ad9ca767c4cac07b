"""docs/locations.md says what the program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.config import LimitSettings
from registry.locations.options import BACKGROUND_DEFAULTS
from registry.service.discards import PAUSE_SECONDS, PAUSE_SECONDS_MAX, STILL_SECONDS
from registry.service.hashing import SURVEY_SECONDS
from registry.service.options import UploadSettings

PAGE = " ".join((Path(__file__).parents[3] / "docs/locations.md").read_text().split())


@pytest.mark.parametrize(
    "told",
    [
        f"`image_location_quota` ({LimitSettings().image_location_quota})",
        f"`http_retries` ({BACKGROUND_DEFAULTS.http_retries})",
        f"| `hashes_at_once` | {BACKGROUND_DEFAULTS.hashes_at_once} |",
        f"| `hash_mebibytes` | {BACKGROUND_DEFAULTS.hash_mebibytes} |",
        f"`upload_lease_seconds` ({UploadSettings().lease_seconds})",
        f"`wakeup_time` ({BACKGROUND_DEFAULTS.wakeup_time})",
        f"`scrub_pool_size` ({BACKGROUND_DEFAULTS.scrub_pool_size})",
    ],
)
def test_it_names_what_holds(told: str) -> None:
    assert told in PAGE


def test_its_times() -> None:
    assert (PAUSE_SECONDS, PAUSE_SECONDS_MAX) == (60, 3600)
    assert STILL_SECONDS == 1800
    assert SURVEY_SECONDS == 600
