"""Fills that read stores directly, and what they do where a store fails."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backends.errors import DeniedError, UnavailableError
from backends.faulty import Alter, End, Fail, Insert, Script, Wait
from cacheproxy import directreads
from cacheproxy.account import Account, Token
from cacheproxy.config import ServiceUserSettings
from cacheproxy.core import setback, streams
from cacheproxy.errors import ProofFailedError, RightLostError
from cacheproxy.fill import fill
from cacheproxy.locations import BELIEVED_SECONDS
from cacheproxy.metrics import UPSTREAM_BYTES, UPSTREAM_REQUESTS
from harness.direct_case import direct_case
from harness.fill_case import CHUNK
from harness.origin import Origin, Ranges

SIZE = 12 * CHUNK + 4321
DATA = random.Random(9).randbytes(SIZE)


@pytest.mark.parametrize("published", [False, True])
async def test_a_whole_image_comes_from_the_store_alone(
    glance: Origin, tmp_path: Path, published: bool
) -> None:
    async with direct_case(glance, tmp_path / "cache") as case:
        image = glance.add(DATA)
        await case.stores.put(image, "fast")
        if published:
            image.publish(CHUNK)
        assert await case.fills.read(image).task == DATA
        await case.fills.idle()
        assert (image.data_requests, case.total("bytes"), case.total("failures")) == ([], SIZE, 0)
        assert case.fills.board.total(UPSTREAM_BYTES) == 0
        assert case.fills.chunk_files() == 13
        assert await case.fills.read(image).task == DATA  # from the disk
        assert case.total("bytes") == SIZE


async def test_a_range_of_a_published_image_is_read_where_the_upstream_has_no_ranges(
    glance: Origin, tmp_path: Path
) -> None:
    async with direct_case(glance, tmp_path / "cache") as case:
        image = glance.add(DATA, ranges="refused")
        await case.stores.put(image, "fast")
        image.publish(CHUNK)
        start, stop = 7 * CHUNK + 5, 8 * CHUNK + 9
        assert await case.fills.read(image, start, stop).task == DATA[start:stop]
        await case.fills.idle()
        assert case.total("bytes") == 2 * CHUNK
        assert image.data_requests == []


@pytest.mark.parametrize("ranges", ["yes", "refused", "ignored"])
@pytest.mark.parametrize("published", [False, True])
async def test_a_store_that_dies_is_taken_over_from_at_the_byte(
    glance: Origin, tmp_path: Path, ranges: Ranges, published: bool
) -> None:
    at = 5 * CHUNK + 1000
    dying = [Fail(UnavailableError("gone"), at)]
    async with direct_case(glance, tmp_path / "cache", scripts={"fast": [dying]}) as case:
        image = glance.add(DATA, ranges=ranges)
        await case.stores.put(image, "fast")
        if published:
            image.publish(CHUNK)
        assert await case.fills.read(image).task == DATA
        await case.fills.idle()
        assert case.total("bytes") == at
        assert image.sent_bytes == (SIZE - at if ranges == "yes" else SIZE)
        assert (case.total("reads"), case.total("failures")) == (1, 1)
        assert case.direct.states()[0].trouble == "gone"
        # The store is well again: so is the way to it, with ranges, whatever the upstream has.
        case.stores.clock.ahead += setback.PAUSE_SECONDS
        other = glance.add(DATA[::-1], ranges=ranges)
        await case.stores.put(other, "fast")
        assert await case.fills.read(other).task == DATA[::-1]
        await case.fills.idle()
        assert (other.data_requests, case.direct.states()[0].trouble) == ([], None)


async def test_the_rest_of_one_image_is_read_directly_again_after_the_upstream_without_ranges(
    glance: Origin, tmp_path: Path
) -> None:
    script = [[Fail(UnavailableError("gone"))]]
    async with direct_case(glance, tmp_path / "cache", scripts={"fast": script}) as case:
        image = glance.add(DATA, ranges="refused")
        await case.stores.put(image, "fast")
        image.publish(CHUNK)
        assert await case.fills.read(image, 0, 5).task == DATA[:5]
        await case.fills.idle()
        assert image.data_requests == [f"bytes=0-{CHUNK - 1}", None]
        sent = image.sent_bytes
        case.stores.clock.ahead += setback.PAUSE_SECONDS
        start = 11 * CHUNK
        assert await case.fills.read(image, start).task == DATA[start:]
        await case.fills.idle()
        assert case.total("bytes") == SIZE - start
        assert (image.sent_bytes, len(image.data_requests)) == (sent, 2)


async def test_another_location_goes_on_before_the_upstream_does(
    glance: Origin, tmp_path: Path
) -> None:
    at = 2 * CHUNK + 7
    scripts = {"fast": [[Fail(UnavailableError("gone"), at)]], "cheap": ()}
    async with direct_case(
        glance, tmp_path / "cache", scripts=scripts, weights={"fast": 5}
    ) as case:
        image = glance.add(DATA)
        await case.stores.put(image, "cheap", "fast")
        assert await case.fills.read(image).task == DATA
        await case.fills.idle()
        assert [each.reads for each in case.stores.scripted.values()] == [1, 1]
        assert (image.data_requests, case.total("bytes")) == ([], SIZE)
        assert [bool(state.trouble) for state in case.direct.states()] == [True, False]


async def test_a_preferred_store_comes_before_a_weightier_one(
    glance: Origin, tmp_path: Path
) -> None:
    scripts = {"fast": (), "cheap": ()}
    async with direct_case(
        glance, tmp_path / "cache", scripts=scripts, weights={"fast": 5}
    ) as case:
        image = glance.add(DATA)
        await case.stores.put(image, "fast", "cheap")
        assert await case.fills.read(image, prefer=("absent", "cheap")).task == DATA
        await case.fills.idle()
        assert [each.reads for each in case.stores.scripted.values()] == [0, 1]


async def test_a_store_that_stands_still_is_given_up(glance: Origin, tmp_path: Path) -> None:
    for standing in (Wait(), Wait(at=3 * CHUNK)):
        async with direct_case(
            glance,
            tmp_path / f"cache{standing.at}",
            scripts={"fast": [[standing]]},
            stall_seconds=0.05,
        ) as case:
            image = glance.add(DATA)
            await case.stores.put(image, "fast")
            assert await case.fills.read(image).task == DATA
            await case.fills.idle()
            assert image.sent_bytes == SIZE - max(0, standing.at)
            assert "nothing came" in (case.direct.states()[0].trouble or "")
            faulty = case.stores.scripted["fast"].faulty
            assert faulty.begun == faulty.ended  # nothing is left open


@pytest.mark.parametrize("fault", [End(at=4 * CHUNK), Insert(b"more"), Fail(DeniedError("no"))])
async def test_an_object_that_is_not_the_image_is_not_read_again(
    glance: Origin, tmp_path: Path, fault: End | Insert | Fail
) -> None:
    async with direct_case(glance, tmp_path / "cache", scripts={"fast": [[fault]]}) as case:
        image = glance.add(DATA)
        await case.stores.put(image, "fast")
        assert await case.fills.read(image).task == DATA
        await case.fills.idle()
        assert (case.stores.scripted["fast"].reads, case.total("failures")) == (1, 1)
        assert case.direct.states()[0].trouble is None  # other images of that store are


async def test_reads_wait_for_each_other_and_nobody_takes_that_for_a_store_that_stands_still(
    glance: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directreads, "READS_MAX", 1)
    gate = asyncio.Event()
    wait = Wait(at=CHUNK, gate=gate)
    async with direct_case(glance, tmp_path / "cache", scripts={"fast": [[wait]]}) as case:
        first, second = glance.add(DATA), glance.add(DATA[1:])
        for image in (first, second):
            await case.stores.put(image, "fast")
        reading = case.fills.read(first)
        await wait.reached.wait()
        monkeypatch.setattr(directreads, "PLACE_SECONDS", 0.01)  # it asks again and again
        take, asked = directreads.DirectRead._take_place, asyncio.Event()

        async def taken(read: directreads.DirectRead) -> None:
            asked.set()
            await take(read)

        monkeypatch.setattr(directreads.DirectRead, "_take_place", taken)
        waiting = case.fills.read(second)
        await asked.wait()
        assert case.total("reads") == 1
        gate.set()
        assert await reading.task == DATA
        assert await waiting.task == DATA[1:]
        await case.fills.idle()
        assert (first.data_requests, second.data_requests) == ([], [])
        assert (case.total("failures"), case.direct.states()[0].trouble) == (0, None)


async def test_an_object_of_another_size_is_not_read(glance: Origin, tmp_path: Path) -> None:
    async with direct_case(glance, tmp_path / "cache") as case:
        image = glance.add(DATA)
        await case.stores.put(image, "fast", data=DATA + b"1")
        assert await case.fills.read(image).task == DATA
        await case.fills.idle()
        assert (image.sent_bytes, case.total("bytes"), case.total("failures")) == (SIZE, 0, 1)


async def test_an_image_that_moved_is_found_where_it_is(glance: Origin, tmp_path: Path) -> None:
    scripts = {"fast": (), "cheap": ()}
    async with direct_case(glance, tmp_path / "cache", scripts=scripts) as case:
        image = glance.add(DATA)
        image.publish(CHUNK)
        await case.stores.put(image, "fast")
        assert await case.fills.read(image, 0, 5).task == DATA[:5]
        await case.fills.idle()
        await case.stores.scripted["fast"].inner.aclose()  # all is gone
        image.record["locations"] = []
        await case.stores.put(image, "cheap")
        assert await case.fills.read(image).task == DATA
        await case.fills.idle()
        assert (image.data_requests, case.total("failures")) == ([], 1)


@pytest.mark.parametrize("published", [False, True])
async def test_a_store_that_lies_is_found_out_and_the_upstream_asked(
    glance: Origin, tmp_path: Path, published: bool
) -> None:
    lies = [[Alter(at=3 * CHUNK + 5)]]
    async with direct_case(glance, tmp_path / "cache", scripts={"fast": lies}) as case:
        image = glance.add(DATA)
        await case.stores.put(image, "fast")
        if published:
            image.publish(CHUNK)
            assert await case.fills.read(image).task == DATA
            assert image.data_requests[0] == f"bytes={3 * CHUNK}-{4 * CHUNK - 1}"
        else:
            with pytest.raises(ProofFailedError):
                await case.fills.read(image).task
            await case.fills.idle()
            assert case.fills.chunk_files() == 0
            assert await case.fills.read(image).task == DATA
            assert image.sent_bytes == SIZE
        await case.fills.idle()
        assert case.stores.scripted["fast"].reads == 1


async def test_several_reads_of_a_store_at_once_go_over_to_an_upstream_without_ranges(
    glance: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WINDOW_SECONDS", 1e-9)
    monkeypatch.setattr(streams, "WINDOW_BYTES", 0)
    monkeypatch.setattr(streams, "SPARE", float("-inf"))
    monkeypatch.setattr(fill, "FIRST_LEG_BYTES", 4 * CHUNK)
    monkeypatch.setattr(fill, "BESIDE_BYTES", 2 * CHUNK)
    gate, gone = asyncio.Event(), UnavailableError("gone")
    first, second = Wait(at=3 * CHUNK, gate=gate), Wait(at=5 * CHUNK, gate=gate)
    script: Script = [[first, Fail(gone, 3 * CHUNK)], [second, Fail(gone, 5 * CHUNK)]]
    async with direct_case(glance, tmp_path / "cache", scripts={"fast": script}) as case:
        image = glance.add(DATA, ranges="refused")
        await case.stores.put(image, "fast")
        reading = case.fills.read(image)
        await first.reached.wait()
        await second.reached.wait()
        gate.set()
        assert await reading.task == DATA
        await case.fills.idle()
        assert image.sent_bytes == SIZE  # once
        assert image.data_requests.count(None) == 1
        assert case.total("failures") == 2


# --- whose right ----------------------------------------------------------------------------------


async def test_who_is_refused_the_record_is_replaced_by_who_is_not(
    glance: Origin, tmp_path: Path
) -> None:
    gate = asyncio.Event()
    wait = Wait(at=CHUNK, gate=gate)
    script: Script = [[wait, Fail(UnavailableError("gone"), CHUNK)]]
    async with direct_case(glance, tmp_path / "cache", scripts={"fast": script}) as case:
        image = glance.add(DATA, tokens={"good"})
        image.show_tokens = {"good", "fading"}
        await case.stores.put(image, "fast")
        first = case.fills.read(image, token="good")
        await wait.reached.wait()
        second = case.fills.read(image, token="fading")
        await second.first.wait()
        image.show_tokens = {"good"}
        gate.set()
        assert await first.task == DATA
        assert await second.task == DATA
        await case.fills.idle()


async def test_a_right_that_is_lost_ends_the_fill_and_keeps_what_came(
    glance: Origin, tmp_path: Path
) -> None:
    async with direct_case(glance, tmp_path / "cache") as case:
        image = glance.add(DATA)
        image.show_tokens = set()
        await case.stores.put(image, "fast")
        with pytest.raises(RightLostError):
            await case.fills.read(image).task
        await case.fills.idle()
        assert (case.total("reads"), case.fills.board.total(UPSTREAM_REQUESTS)) == (0, 0)


async def test_locations_are_asked_for_once_by_all_reads_of_a_fill(
    glance: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "FIRST_LEG_BYTES", CHUNK)
    async with direct_case(glance, tmp_path / "cache", fill_read_bytes_max=CHUNK) as case:
        image = glance.add(DATA)
        await case.stores.put(image, "fast")
        both = [case.fills.read(image), case.fills.read(image)]
        assert await asyncio.gather(*(each.task for each in both)) == [DATA, DATA]
        await case.fills.idle()
        assert (case.total("reads"), image.shows) == (13, 1)


async def test_a_fill_goes_on_while_the_upstream_says_nothing(
    glance: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "FIRST_LEG_BYTES", CHUNK)
    gate = asyncio.Event()
    wait = Wait(at=CHUNK, gate=gate)
    script: Script = [[], [wait]]
    async with direct_case(
        glance, tmp_path / "cache", scripts={"fast": script}, fill_read_bytes_max=CHUNK
    ) as case:
        image = glance.add(DATA)
        await case.stores.put(image, "fast")
        reading = case.fills.read(image)
        await wait.reached.wait()
        image.show_status = image.data_status = 503
        case.stores.clock.ahead += BELIEVED_SECONDS
        gate.set()
        assert await reading.task == DATA
        await case.fills.idle()
        assert image.data_requests == []
        assert image.shows > 2  # it was asked whether the image is there still


async def test_the_proxys_own_account_finds_what_readers_are_not_shown(
    glance: Origin, tmp_path: Path
) -> None:
    account = Account(
        ServiceUserSettings(auth_url="http://keystone"),
        lambda _: Token("own", datetime.max.replace(tzinfo=UTC)),
    )
    async with direct_case(glance, tmp_path / "cache", account=account) as case:
        image = glance.add(DATA, ranges="refused")
        await case.stores.put(image, "fast")
        image.locations, image.location_tokens = image.record.pop("locations"), {"own"}
        assert await case.fills.read(image, token="reader").task == DATA
        await case.fills.idle()
        assert (image.data_requests, image.shows, image.location_requests) == ([], 0, 1)
    await account.close()


async def test_an_image_that_alone_cannot_be_read_is_tried_ever_less_often(
    glance: Origin, tmp_path: Path
) -> None:
    ill = UnavailableError("an object that hangs")
    script: Script = [[Fail(ill)], [], [Fail(ill)], [], []]
    async with direct_case(glance, tmp_path / "cache", scripts={"fast": script}) as case:
        image, clock = glance.add(DATA), case.stores.clock
        image.publish(CHUNK)
        await case.stores.put(image, "fast")
        reads = case.stores.scripted["fast"]

        async def read_chunk(number: int) -> int:
            start = number * CHUNK
            assert await case.fills.read(image, start, start + 5).task == DATA[start : start + 5]
            await case.fills.idle()
            return reads.reads

        async def another_is_well(seed: int) -> None:
            other = glance.add(DATA[seed:])
            await case.stores.put(other, "fast")
            assert await case.fills.read(other).task == DATA[seed:]
            await case.fills.idle()
            assert (other.data_requests, case.direct.states()[0].trouble) == ([], None)

        assert await read_chunk(0) == 1
        clock.ahead += setback.PAUSE_SECONDS
        await another_is_well(1)
        assert await read_chunk(1) == 3  # tried again, in vain
        clock.ahead += setback.PAUSE_SECONDS
        await another_is_well(2)
        assert await read_chunk(2) == 4  # the store is well, this image is not tried
        clock.ahead += setback.PAUSE_SECONDS
        assert await read_chunk(3) == 5  # it is well
        assert await read_chunk(4) == 6
        assert len(image.data_requests) == 3
