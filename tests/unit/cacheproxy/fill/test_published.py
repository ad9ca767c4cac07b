"""Fills under a published manifest: any chunk alone, equal content once, wrong bytes never."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.errors import FillFailedError, ProofFailedError
from cacheproxy.metrics import FLIGHTS_JOINED, MANIFEST_BYTES, MANIFESTS, UPSTREAM_BYTES
from harness.fill_case import CHUNK, Case, started
from harness.origin import Content, Origin
from harness.published_case import DATA, OTHER, SIZE, SOURCES, add, asked, islands

pytestmark = pytest.mark.usefixtures("no_pause")


# --- what they are good for -----------------------------------------------------------------------


async def test_a_range_fetches_its_chunk_alone(case: Case) -> None:
    image = add(case.origin)
    start = 4 * CHUNK + 5
    assert await case.read(image, start, start + 100).task == DATA[start : start + 100]
    await case.idle()
    assert image.data_requests == [f"bytes={4 * CHUNK}-{5 * CHUNK - 1}"]
    assert case.flights.contents.describe(image.id) is not None
    assert await case.read(image).task == DATA
    await case.idle()
    assert image.sent_bytes == SIZE
    assert asked(image) == (1, [(0, 1)])
    assert case.board.total(MANIFESTS, ("used",)) == 1
    root, pages = 24 + 32, 7 * 32
    assert case.board.total(MANIFEST_BYTES) == root + pages


@pytest.mark.parametrize("how", SOURCES)
async def test_the_end_is_not_withheld(case: Case, how: dict[str, Any]) -> None:
    image = add(case.origin, **how)
    hold = image.hold_at(SIZE - 500)
    whole = case.read(image)
    await hold.reached.wait()
    while len(whole.fetched) < 6:
        whole.first.clear()
        await whole.first.wait()
    hold.release.set()
    assert await whole.task == DATA
    await case.idle()
    assert image.sent_bytes == SIZE


async def test_equal_content_is_fetched_once_also_at_once(case: Case) -> None:
    images = [add(case.origin) for _ in range(3)]
    hold = images[0].hold_at(CHUNK + 1)
    first = case.read(images[0])
    await hold.reached.wait()
    rest = [case.read(image, token=f"of {image.id}") for image in images[1:]]
    for reading in rest:
        await reading.first.wait()  # the chunk that the first one's fill has brought
    hold.release.set()
    for reading in (first, *rest):
        assert await reading.task == DATA
    await case.idle()
    assert [image.sent_bytes for image in images] == [SIZE, 0, 0]
    assert case.board.total(FLIGHTS_JOINED) >= 2
    later = add(case.origin)
    assert await case.read(later).task == DATA
    assert later.sent_bytes == 0


async def test_shared_chunks_are_fetched_once(case: Case) -> None:
    """Of contents that differ, one after the other and at once."""
    base = add(case.origin)
    derived = add(case.origin, DATA[: 4 * CHUNK] + OTHER[4 * CHUNK :])
    hold = base.hold_at(2 * CHUNK + 1)
    one = case.read(base)
    await hold.reached.wait()
    two = case.read(derived)
    await two.first.wait()
    assert derived.data_requests == []  # it waits for what comes for the other
    hold.release.set()
    assert await one.task == DATA
    assert await two.task == DATA[: 4 * CHUNK] + OTHER[4 * CHUNK :]
    await case.idle()
    assert base.sent_bytes == SIZE
    assert derived.sent_bytes == SIZE - 4 * CHUNK
    third = add(case.origin, OTHER[:CHUNK] + DATA[CHUNK:])
    assert await case.read(third).task == OTHER[:CHUNK] + DATA[CHUNK:]
    await case.idle()
    assert third.sent_bytes == CHUNK


async def test_who_waits_for_anothers_chunk_fetches_it_when_that_one_fails(case: Case) -> None:
    base, derived = add(case.origin), add(case.origin, DATA[: 4 * CHUNK] + OTHER[4 * CHUNK :])
    hold = base.hold_at(CHUNK + 1)
    one = case.read(base)
    await hold.reached.wait()
    two = case.read(derived)
    await two.first.wait()
    base.data_status = 404
    base.cuts.append(CHUNK + 1)
    hold.release.set()
    with pytest.raises(FillFailedError):
        await one.task
    assert await two.task == DATA[: 4 * CHUNK] + OTHER[4 * CHUNK :]
    await case.idle()
    assert derived.sent_bytes == SIZE - CHUNK


async def test_who_waits_for_a_fill_that_is_broken_off_fetches_for_itself(case: Case) -> None:
    base, derived = add(case.origin), add(case.origin, DATA[: 4 * CHUNK] + OTHER[4 * CHUNK :])
    hold = base.hold_at(CHUNK + 1)
    one = case.read(base)
    await hold.reached.wait()
    two = case.read(derived)
    await two.first.wait()
    fill_of_one = case.flights.filling((await case.admit(base)).key)
    assert fill_of_one is not None
    fill_of_one.break_off(FillFailedError("told to"))
    assert await two.task == DATA[: 4 * CHUNK] + OTHER[4 * CHUNK :]
    with pytest.raises(FillFailedError):
        await one.task
    hold.release.set()
    await case.idle()
    assert derived.sent_bytes == SIZE - CHUNK


async def test_zeros_are_never_fetched(case: Case) -> None:
    data = DATA[:CHUNK] + bytes(3 * CHUNK) + DATA[4 * CHUNK : 5 * CHUNK]
    image = add(case.origin, data)
    assert await case.read(image).task == data
    await case.idle()
    assert image.sent_bytes == 2 * CHUNK


async def test_an_image_larger_than_the_cache_is_cached_by_chunk(
    glance: Origin, tmp_path: Path
) -> None:
    limit = 64 << 20
    async with started(glance, tmp_path / "cache", limit_bytes=limit) as case:
        size = 2 * limit
        image = add(glance, Content(size, islands({3: DATA[:CHUNK]}).read))
        assert await case.read(image, 3 * CHUNK, 3 * CHUNK + 5).task == DATA[:5]
        await case.idle()
        assert image.sent_bytes == CHUNK


async def test_what_was_published_outlives_a_restart(glance: Origin, tmp_path: Path) -> None:
    image = add(glance)
    async with started(glance, tmp_path / "cache") as case:
        assert await case.read(image, 0, 2 * CHUNK).task == DATA[: 2 * CHUNK]
        await case.idle()
    async with started(glance, tmp_path / "cache") as case:
        described = case.flights.contents.describe(image.id)
        assert described is not None
        assert described.owner == "someone"
        again = case.read(image)
        assert await again.task == DATA
        assert again.fetched == [False] * 2 + [True] * 5
        await case.idle()
    assert image.sent_bytes == SIZE
    assert asked(image) == (1, [(0, 1)])


# --- wrong bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", SOURCES)
async def test_a_chunk_that_comes_wrong_is_fetched_again(case: Case, how: dict[str, Any]) -> None:
    image = add(case.origin, wrong_at=2 * CHUNK + 7, wrong_times=2, **how)
    assert await case.read(image).task == DATA
    await case.idle()
    ranged = how["ranges"] == "yes"
    assert image.sent_bytes == (SIZE + 2 * CHUNK if ranged else 3 * SIZE)
    assert case.chunk_files() == 7


@pytest.mark.parametrize("how", SOURCES)
async def test_a_chunk_that_is_always_wrong_never_leaves(case: Case, how: dict[str, Any]) -> None:
    image = add(case.origin, wrong_at=2 * CHUNK + 7, **how)
    wants_it, beside = case.read(image), case.read(image, 3 * CHUNK, SIZE)
    with pytest.raises(ProofFailedError):
        await wants_it.task
    assert wants_it.data == DATA[: 2 * CHUNK]
    assert await beside.task == DATA[3 * CHUNK :]
    await case.idle()
    assert case.chunk_files() == 6
    # The content stays proven, the image trusted, and the next one who asks finds it healed.
    image.wrong_at = None
    again = case.read(image)
    assert await again.task == DATA
    assert again.fetched == [index == 2 for index in range(7)]
    await case.idle()


async def test_a_source_of_which_nothing_is_right_is_given_up(case: Case) -> None:
    data = random.Random(13).randbytes(40 * CHUNK)
    image = add(case.origin, data)
    image.content = Content.of(data[1:] + b"x")
    reading = case.read(image)
    with pytest.raises(ProofFailedError):
        await reading.task
    assert reading.data == b""
    await case.idle()
    assert case.chunk_files() == 0
    assert case.board.total(UPSTREAM_BYTES) < len(data)  # not all of it three times


@pytest.mark.parametrize("surplus", [-1, 1])
@pytest.mark.parametrize("how", SOURCES)
async def test_a_source_of_another_size_is_given_up(
    case: Case, how: dict[str, Any], surplus: int
) -> None:
    image = add(case.origin, surplus=surplus, **how)
    with pytest.raises(ProofFailedError):
        await case.read(image).task
    await case.idle()
    image.surplus = 0
    assert await case.read(image).task == DATA
    await case.idle()


async def test_wrong_bytes_of_one_image_are_fetched_as_another(case: Case) -> None:
    rotten, sound = add(case.origin, wrong_at=3 * CHUNK), add(case.origin)
    hold = rotten.hold_at(CHUNK + 1)
    one = case.read(rotten)
    await hold.reached.wait()
    two = case.read(sound)
    await two.first.wait()
    hold.release.set()
    assert await one.task == DATA
    assert await two.task == DATA
    await case.idle()
    assert rotten.sent_bytes == SIZE
    assert sound.sent_bytes == CHUNK


# --- whose chunks they are ------------------------------------------------------------------------


@pytest.mark.parametrize("published_too", [False, True])
@pytest.mark.parametrize("how", SOURCES)
async def test_chunks_are_charged_to_the_owner(
    case: Case, how: dict[str, Any], published_too: bool
) -> None:
    image = case.origin.add(DATA, record={"owner": "tenant"}, **how)
    if published_too:
        image.publish(CHUNK)
    assert await case.read(image).task == DATA
    await case.idle()
    content = await case.admit(image)
    digests = [content.manifest.digest(index) for index in range(7)]
    entries = [case.store._entries.get(digest or b"") for digest in digests]
    number = case.store._owners.number("tenant")
    for entry in entries:
        assert entry is not None
        assert entry.owner == number != 0
