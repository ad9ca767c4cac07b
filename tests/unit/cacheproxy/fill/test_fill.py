"""Fills from a source that behaves, and joins: every byte once, in the order that readers need."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.core.manifest import CONTENT_ALGORITHMS
from cacheproxy.errors import NeverFitsError, ProofFailedError
from cacheproxy.metrics import FLIGHTS_JOINED, UPSTREAM_BYTES
from harness.fill_case import CHUNK, Case, facts_of, started
from harness.origin import Origin

SIZE = 6 * CHUNK + 1000
DATA = random.Random(1).randbytes(SIZE)
KINDS: list[dict[str, Any]] = [
    {"ranges": "yes"},
    {"ranges": "refused"},
    {"ranges": "ignored"},
    {"ranges": "refused", "framing": "chunked"},
    {"ranges": "ignored", "framing": "close"},
]


@pytest.mark.parametrize("how", KINDS)
async def test_a_whole_image_is_fetched_once_and_bound(case: Case, how: dict[str, Any]) -> None:
    image = case.origin.add(DATA, **how)
    reading = case.read(image)
    assert await reading.task == DATA
    assert all(reading.fetched)
    await case.idle()
    assert image.sent_bytes == SIZE
    assert case.flights.contents.describe(image.id) == facts_of(image)
    again = case.read(image)
    assert await again.task == DATA
    assert not any(again.fetched)
    assert image.sent_bytes == SIZE


@pytest.mark.parametrize("how", KINDS)
async def test_many_readers_join_and_the_tail_is_wanted_first(
    case: Case, how: dict[str, Any]
) -> None:
    image = case.origin.add(DATA, **how)
    hold = image.hold_at(SIZE - 1)
    tail = case.read(image, SIZE - 2 * CHUNK, SIZE - 1)
    whole = [case.read(image) for _ in range(5)]
    middle = case.read(image, 3 * CHUNK - 5, 3 * CHUNK + 5)
    await hold.reached.wait()
    # All but the last chunk's have their first byte before the origin sends its last.
    for reading in (*whole, middle, tail):
        await reading.first.wait()
    hold.release.set()
    assert await tail.task == DATA[SIZE - 2 * CHUNK : SIZE - 1]
    assert await middle.task == DATA[3 * CHUNK - 5 : 3 * CHUNK + 5]
    for reading in whole:
        assert await reading.task == DATA
    await case.idle()
    assert image.sent_bytes == SIZE
    assert case.board.total(UPSTREAM_BYTES) == SIZE
    assert case.board.total(FLIGHTS_JOINED) >= 5


async def test_the_last_chunk_waits_for_the_proof(glance: Origin, tmp_path: Path) -> None:
    async with started(glance, tmp_path / "cache", complete_in_background=False) as case:
        image = glance.add(DATA)
        # A look at the tail alone is served as it lands.
        assert await case.read(image, SIZE - 10).task == DATA[-10:]
        assert await case.read(image, SIZE - 2000, SIZE - 1000).task == DATA[-2000:-1000]
        hold = image.hold_at(CHUNK)
        resumed = case.read(image, SIZE - 2000)
        await resumed.first.wait()
        await hold.reached.wait()
        assert not resumed.task.done()
        assert resumed.data == DATA[-2000:-1000]  # the rest is there, and withheld
        hold.release.set()
        assert await resumed.task == DATA[-2000:]
        await case.idle()
        assert image.sent_bytes == SIZE


async def test_ranges_may_wait_for_the_proof(glance: Origin, tmp_path: Path) -> None:
    async with started(glance, tmp_path / "cache", unproven_ranges="wait") as case:
        image = glance.add(DATA)
        hold = image.hold_at(SIZE - 1)
        reading = case.read(image, 0, 10)
        await hold.reached.wait()
        assert reading.data == b""
        hold.release.set()
        assert await reading.task == DATA[:10]
        await case.idle()


async def test_no_read_is_longer_than_allowed(glance: Origin, tmp_path: Path) -> None:
    most = 2 * CHUNK
    async with started(glance, tmp_path / "cache", fill_read_bytes_max=most) as case:
        image = glance.add(DATA)
        assert await case.read(image).task == DATA
        await case.idle()
    for asked in image.data_requests:
        start, stop = (asked or "").removeprefix("bytes=").split("-")
        assert int(stop) + 1 - int(start) <= most


async def test_a_reader_who_leaves_changes_nothing(case: Case) -> None:
    image = case.origin.add(DATA)
    hold = image.hold_at(2 * CHUNK + 7)
    stays, leaves = case.read(image), case.read(image)
    await hold.reached.wait()
    await leaves.first.wait()
    leaves.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves.task
    hold.release.set()
    assert await stays.task == DATA
    await case.idle()
    assert image.sent_bytes == SIZE


async def test_a_fill_outlives_its_only_reader(case: Case) -> None:
    image = case.origin.add(DATA)
    hold = image.hold_at(CHUNK)
    reading = case.read(image)
    await hold.reached.wait()
    reading.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading.task
    hold.release.set()
    await case.idle()
    assert case.flights.contents.describe(image.id) is not None
    assert image.sent_bytes == SIZE


async def test_without_completion_only_what_is_wanted_is_fetched(
    glance: Origin, tmp_path: Path
) -> None:
    async with started(glance, tmp_path / "cache", complete_in_background=False) as case:
        image = glance.add(DATA)
        assert await case.read(image, CHUNK + 1, CHUNK + 2).task == DATA[CHUNK + 1 : CHUNK + 2]
        await case.idle()
        assert image.sent_bytes == CHUNK
        assert await case.read(image).task == DATA  # needs the proof, so all of it
        await case.idle()
        assert image.sent_bytes == SIZE


async def test_a_fill_goes_on_after_a_restart(glance: Origin, tmp_path: Path) -> None:
    image = glance.add(DATA)
    async with started(glance, tmp_path / "cache") as case:
        hold = image.hold_at(3 * CHUNK + 1)
        reading = case.read(image)
        await hold.reached.wait()
        while len(reading.fetched) < 3:
            reading.first.clear()
            await reading.first.wait()
        reading.task.cancel()
        await asyncio.wait([reading.task])
    hold.release.set()
    async with started(glance, tmp_path / "cache") as case:
        assert await case.read(image).task == DATA
        await case.idle()
        assert image.data_requests[1:] == [f"bytes={3 * CHUNK}-{SIZE - 1}"]


async def test_equal_content_is_stored_once_and_fetched_for_each(case: Case) -> None:
    first, second = case.origin.add(DATA), case.origin.add(DATA)
    assert await case.read(first).task == DATA
    await case.idle()
    files = case.chunk_files()
    assert await case.read(second).task == DATA
    await case.idle()
    assert case.chunk_files() == files == 7
    assert second.sent_bytes == SIZE


async def test_trusted_hashes_are_fetched_once(glance: Origin, tmp_path: Path) -> None:
    async with started(glance, tmp_path / "cache", trust=True) as case:
        first, second = glance.add(DATA), glance.add(DATA)
        one, two = case.read(first), case.read(second)
        assert await one.task == DATA
        assert await two.task == DATA
        await case.idle()
        third = glance.add(DATA)
        assert await case.read(third).task == DATA
        assert first.sent_bytes + second.sent_bytes + third.sent_bytes == SIZE


async def test_zeros_are_not_stored(case: Case) -> None:
    data = bytes(5 * CHUNK + 17)
    image = case.origin.add(data)
    assert await case.read(image).task == data
    await case.idle()
    assert case.chunk_files() == 0
    again = case.read(image, 1)
    assert await again.task == data[1:]
    assert not any(again.fetched)


@pytest.mark.parametrize("data", [b"x", DATA[:CHUNK], DATA[: CHUNK + 1]])
async def test_small_images(case: Case, data: bytes) -> None:
    image = case.origin.add(data)
    assert await case.read(image).task == data
    await case.idle()
    assert case.flights.contents.describe(image.id) is not None


@pytest.mark.parametrize(
    "record",
    [
        {"os_hash_algo": None, "os_hash_value": None},
        {"os_hash_algo": None, "os_hash_value": None, "checksum": None},
        {"os_hash_algo": "whirlpool", "os_hash_value": "00" * 64},
    ],
)
async def test_images_without_a_usable_hash_are_private(
    case: Case, record: dict[str, str | None]
) -> None:
    image = case.origin.add(DATA, record=record)
    assert await case.read(image).task == DATA
    await case.idle()
    assert case.flights.contents.describe(image.id) is not None
    assert not any((again := case.read(image)).fetched)
    assert await again.task == DATA


@pytest.mark.parametrize("algorithm", [*CONTENT_ALGORITHMS, "SHA512"])
async def test_every_hash_that_glance_may_be_set_to(case: Case, algorithm: str) -> None:
    value = hashlib.new(algorithm.lower(), DATA).hexdigest()
    # It alone counts, where it can be computed here: the md5 beside it is Glance's own business.
    record = {"os_hash_algo": algorithm, "os_hash_value": value, "checksum": "0" * 32}
    image = case.origin.add(DATA, record=record)
    assert await case.read(image).task == DATA
    await case.idle()
    assert (await case.admit(image)).key == f"{algorithm.lower()}:{value}/{CHUNK}"
    lie = value[:-1] + ("0" if value[-1] != "0" else "1")
    liar = case.origin.add(DATA, record={**record, "os_hash_value": lie})
    with pytest.raises(ProofFailedError):
        await case.read(liar).task
    await case.idle()
    assert case.chunk_files() == 7


@pytest.mark.parametrize("algorithm", [None, "whirlpool", "sha1"])
async def test_without_such_a_hash_the_checksum_proves(case: Case, algorithm: str | None) -> None:
    unknown = {"os_hash_algo": algorithm, "os_hash_value": algorithm and "00" * 20}
    wrong = case.origin.add(DATA, record={**unknown, "checksum": "0" * 32})
    with pytest.raises(ProofFailedError):
        await case.read(wrong).task
    await case.idle()
    assert case.chunk_files() == 0
    right = case.origin.add(DATA, record=unknown)
    assert await case.read(right).task == DATA
    await case.idle()
    assert case.flights.contents.describe(right.id) is not None


async def test_an_image_that_never_fits_is_refused(glance: Origin, tmp_path: Path) -> None:
    async with started(glance, tmp_path / "cache", limit_bytes=64 << 20) as case:
        image = glance.add(DATA, record={"size": 1 << 30})
        with pytest.raises(NeverFitsError):
            await case.read(image).task
        await case.idle()
        assert image.sent_bytes == 0


@pytest.mark.parametrize("memory", [0, 2 * CHUNK])
async def test_a_fill_in_little_memory(glance: Origin, tmp_path: Path, memory: int) -> None:
    """One chunk of memory for each read is enough, and all of it is given back."""
    options: dict[str, Any] = {"fill_memory_bytes": memory, "fills_memory_bytes": memory}
    async with started(glance, tmp_path / "cache", **options) as case:
        images = [glance.add(DATA), glance.add(DATA[::-1])]
        readings = [case.read(image) for image in images]
        assert [await reading.task for reading in readings] == [DATA, DATA[::-1]]
        await case.idle()
        assert repr(case.flights._ports.buffers) == f"<Buffers 0 lent, 0 kept of {memory}>"
