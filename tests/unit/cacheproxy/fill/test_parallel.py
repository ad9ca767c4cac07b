"""Several ranges of one image at once, where one read leaves time to spare."""

from __future__ import annotations

import random

import pytest

from cacheproxy.core import streams
from cacheproxy.fill import fill
from harness.fill_case import CHUNK, Case

SIZE = 12 * CHUNK
DATA = random.Random(3).randbytes(SIZE)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try one more read at once, whatever time there is."""
    monkeypatch.setattr(streams, "WINDOW_SECONDS", 1e-9)
    monkeypatch.setattr(streams, "WINDOW_BYTES", 0)
    monkeypatch.setattr(streams, "SPARE", float("-inf"))
    monkeypatch.setattr(fill, "FIRST_LEG_BYTES", 4 * CHUNK)
    monkeypatch.setattr(fill, "BESIDE_BYTES", 2 * CHUNK)


@pytest.mark.parametrize("published", [False, True])
async def test_a_second_range_comes_while_the_first_has_not_ended(
    case: Case, published: bool
) -> None:
    image = case.origin.add(DATA)
    if published:
        image.publish(CHUNK)
    first, second = image.hold_at(3 * CHUNK), image.hold_at(5 * CHUNK)
    reading = case.read(image)
    await first.reached.wait()
    await second.reached.wait()  # though nothing more of the first one comes
    assert image.data_requests[:2] == [
        f"bytes=0-{4 * CHUNK - 1}",
        f"bytes={4 * CHUNK}-{6 * CHUNK - 1}",
    ]
    first.release.set()
    second.release.set()
    assert await reading.task == DATA
    await case.idle()
    assert image.sent_bytes == SIZE


async def test_a_source_without_ranges_is_read_once(case: Case) -> None:
    image = case.origin.add(DATA, ranges="refused")
    assert await case.read(image).task == DATA
    await case.idle()
    assert image.sent_bytes == SIZE
    assert [request for request in image.data_requests if request is None] == [None]


async def test_a_source_that_cuts_what_is_beside_loses_nothing(case: Case) -> None:
    image = case.origin.add(DATA)
    first, second = image.hold_at(3 * CHUNK), image.hold_at(5 * CHUNK)
    image.cuts.append(5 * CHUNK)
    reading = case.read(image)
    await first.reached.wait()
    await second.reached.wait()
    first.release.set()
    second.release.set()
    assert await reading.task == DATA
    await case.idle()
    assert image.sent_bytes == SIZE
