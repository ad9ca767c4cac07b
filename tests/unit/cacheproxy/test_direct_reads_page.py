"""docs/direct-reads.md tells what the program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from cacheproxy.config import StoreReadSettings
from cacheproxy.core.setback import PAUSE_SECONDS, PAUSE_SECONDS_MAX
from cacheproxy.directreads import DOUBT_SECONDS, LIE_SECONDS, READS_MAX
from cacheproxy.locations import (
    ASK_AGAIN_SECONDS,
    ASK_SECONDS,
    BELIEVED_SECONDS,
    ENTRIES_MAX,
    MISSES_MAX,
    SILENT_SECONDS,
    STANDSTILL_SECONDS,
    WAY_SECONDS,
)
from cacheproxy.metrics import (
    DIRECT_BYTES,
    DIRECT_FAILING,
    DIRECT_FAILURES,
    DIRECT_FALLBACKS,
    DIRECT_READS,
    LOCATION_QUESTIONS,
    STORE_KINDS,
)
from cacheproxy.storefiles import TO_BE_NAMED

PAGE = Path(__file__).parents[3] / "docs/direct-reads.md"
TEXT = " ".join(PAGE.read_text().split())


@pytest.mark.parametrize(
    "told",
    [
        *(f"`{each.name}" for each in (DIRECT_BYTES, DIRECT_FAILING, DIRECT_FAILURES)),
        *(f"`{each.name}" for each in (DIRECT_FALLBACKS, DIRECT_READS, LOCATION_QUESTIONS)),
        *(f"| `{kind}` | " for kind in STORE_KINDS),
        f"`stall_seconds` ({StoreReadSettings().stall_seconds:g})",
        f"at most {ENTRIES_MAX:,} of them",
        f"the API after {ASK_SECONDS:g} s, or what it was told before after {ASK_AGAIN_SECONDS:g} s",
        f"nobody else waits for {STANDSTILL_SECONDS:g} s",
        f"believed for {BELIEVED_SECONDS:g} seconds",
        f"for {PAUSE_SECONDS:g} s, then 2, 4 … {PAUSE_SECONDS_MAX:g} s",
    ],
)
def test_it_names_what_holds(told: str) -> None:
    assert told in TEXT


def test_its_intervals_and_numbers() -> None:
    assert ("up to an hour" in TEXT, SILENT_SECONDS) == (True, 3600)
    assert ("ten minutes" in TEXT, DOUBT_SECONDS) == (True, 600)
    assert ("at most 48 reads" in TEXT, READS_MAX) == (True, 48)
    assert ("six hours" in TEXT, LIE_SECONDS) == (True, 6 * 3600)
    assert ("one in five minutes" in TEXT, WAY_SECONDS) == (True, 300)
    assert ("three of its first fills" in TEXT, MISSES_MAX) == (True, 3)
    assert ("but those of the kinds `file` and `http`" in TEXT, len(TO_BE_NAMED)) == (True, 2)
