"""What an operator does to a cache, with a real store and real fills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cacheproxy import evicting, operations
from cacheproxy.admin.results import Evicted, Prefetched
from cacheproxy.config import UpstreamSettings
from cacheproxy.endpoints import Endpoints
from cacheproxy.fill.demand import Demand
from cacheproxy.inspection import OperationError
from cacheproxy.meter import Board
from cacheproxy.watch import Watch
from harness.admin_case import CHUNK, AdminCase, administered
from harness.origin import OriginImage
from harness.store_case import chunk


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[AdminCase]:
    async with administered(tmp_path / "cache") as made:
        await made.store.reconciled()
        yield made
        for image in made.origin.images.values():
            for hold in image.holds:
                hold.release.set()
        await made.idle()
        assert made.flights.in_progress() == []


async def present(case: AdminCase, image: OriginImage) -> int:
    return (await case.inspection.show(image.id)).cached.cached_bytes


# --- purge ----------------------------------------------------------------------------------------


async def test_a_purge_is_told_to_all_workers(case: AdminCase) -> None:
    done = case.operations.purge("i")
    assert (done.image, done.workers) == ("i", 1)
    assert case.operations.purge(None).image is None
    assert case.workers.purged == ["i", None]
    case.workers.reached = False
    with pytest.raises(OperationError, match="takes no orders") as refused:
        case.operations.purge(None)
    assert refused.value.code == "busy"


# --- evict ----------------------------------------------------------------------------------------


async def evict(case: AdminCase, *images: OriginImage, content: bool = False) -> list[Evicted]:
    return (await case.operations.evict([image.id for image in images], content=content)).images


async def test_what_other_images_have_stays(case: AdminCase) -> None:
    image, other = await case.cached(1, 2, 3), await case.cached(3, 4)
    (evicted,) = await evict(case, image)
    assert (evicted.dropped_chunks, evicted.dropped_disk_bytes) == (2, 2 * CHUNK)
    assert (evicted.shared_chunks, evicted.shared_disk_bytes) == (1, CHUNK)
    assert (evicted.held_chunks, evicted.busy_chunks, evicted.error) == (0, 0, None)
    assert await present(case, image) == CHUNK
    assert await present(case, other) == 2 * CHUNK
    assert case.chunk_files() == 2


async def test_evicted_images_come_back(case: AdminCase) -> None:
    image = await case.cached(1, 2)
    await evict(case, image)
    assert case.chunk_files() == 0
    assert await case.read(image).task == chunk(1) + chunk(2)
    await case.idle()
    (evicted,) = await evict(case, image)
    assert evicted.dropped_chunks == 2


async def test_images_that_go_together_do_not_keep_what_they_share(case: AdminCase) -> None:
    first, second = await case.cached(1, 2), await case.cached(2, 3)
    told = await evict(case, first, second)
    assert sum(image.dropped_chunks for image in told) == 3
    assert [image.shared_chunks for image in told] == [0, 0]
    assert case.chunk_files() == 0


async def test_two_images_with_one_content_go_only_together(case: AdminCase) -> None:
    image = await case.cached(1, 2)
    twin = case.origin.add(chunk(1) + chunk(2))
    await case.read(twin).task
    (evicted,) = await evict(case, image)
    assert (evicted.dropped_chunks, evicted.shared_chunks) == (0, 2)
    told = await evict(case, image, twin)
    assert sum(image.dropped_chunks for image in told) == 2


async def test_the_whole_content_goes_if_that_is_asked_for(case: AdminCase) -> None:
    image, other = await case.cached(1, 2, 3), await case.cached(3, 4)
    (evicted,) = await evict(case, image, content=True)
    assert (evicted.dropped_chunks, evicted.shared_chunks) == (3, 0)
    assert await present(case, other) == CHUNK
    assert await case.read(other).task == chunk(3) + chunk(4)


async def test_what_is_held_is_told_and_follows(
    case: AdminCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evicting, "HELD_LOOK_SECONDS", 0)
    image = await case.cached(1, 2)
    (held, *_) = [digest async for some in case.store.survey.chunks() for digest in some]
    case.store.hold(held, "a worker")
    (evicted,) = await evict(case, image)
    assert (evicted.dropped_chunks, evicted.held_chunks, evicted.held_disk_bytes) == (1, 1, CHUNK)
    assert case.chunk_files() == 1
    case.store.release(held, "a worker")
    await case.idle()
    assert case.chunk_files() == 0


async def test_who_lets_go_at_once_is_waited_for(
    case: AdminCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await case.cached(1)
    (held,) = [digest async for some in case.store.survey.chunks() for digest in some]
    case.store.hold(held, "a worker")

    def let_go(digest: bytes, holder: object) -> None:
        asyncio.get_running_loop().call_soon(case.store.release, digest, holder)

    monkeypatch.setattr(case.store._departures, "_on_dying", let_go)
    (evicted,) = await evict(case, image)
    assert (evicted.dropped_chunks, evicted.held_chunks) == (1, 0)


async def test_a_pinned_image_and_its_chunks_stay(case: AdminCase) -> None:
    pinned, other = await case.cached(1, 2), await case.cached(2, 3)
    assert (await case.operations.pin(pinned.id)).changed
    assert not (await case.operations.pin(pinned.id)).changed
    told = await evict(case, pinned, other, content=True)
    by_image = {image.image: image for image in told}
    assert by_image[pinned.id].error == "it is pinned: unpin it first"
    assert (by_image[other.id].dropped_chunks, by_image[other.id].shared_chunks) == (1, 1)
    assert (await case.operations.unpin(pinned.id)).changed
    assert not (await case.operations.unpin(pinned.id)).changed
    (evicted,) = await evict(case, pinned)
    assert evicted.dropped_chunks == 1  # the other image has the other one


async def test_a_pin_that_has_no_room_is_refused(case: AdminCase) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cacheproxy.fill.pins.IMAGES_MAX", 0)
        with pytest.raises(OperationError) as caught:
            await case.operations.pin("x")
    assert caught.value.code == "refused"


async def test_what_is_being_fetched_is_not_evicted(case: AdminCase) -> None:
    image = case.add(1, 2, 3)
    hold = image.hold_at(2 * CHUNK)
    reading = case.read(image)
    await reading.first.wait()
    (evicted,) = await evict(case, image)
    assert evicted.error is not None
    assert "being fetched now" in evicted.error
    hold.release.set()
    assert await reading.task == chunk(1) + chunk(2) + chunk(3)


async def test_what_a_fill_needs_stays(case: AdminCase) -> None:
    done, filled = await case.cached(1, 2), case.add(1, 3, 4)
    hold = filled.hold_at(2 * CHUNK)
    reading = case.read(filled)
    await reading.first.wait()
    (evicted,) = await evict(case, done, content=True)
    assert (evicted.dropped_chunks, evicted.busy_chunks) == (1, 1)
    hold.release.set()
    assert await reading.task == chunk(1) + chunk(3) + chunk(4)


async def test_an_unknown_image_among_others(case: AdminCase) -> None:
    image = await case.cached(1)
    told = await case.operations.evict([image.id, "x"], content=False)
    assert [each.error for each in told.images] == [None, "nothing is known of image x"]
    assert case.chunk_files() == 0


# --- prefetch -------------------------------------------------------------------------------------


async def prefetch(
    case: AdminCase, *images: OriginImage, token: str | None = "t"
) -> list[Prefetched]:
    watch = Watch()
    told = await case.operations.prefetch([image.id for image in images], token, watch)
    return told.images


async def test_all_of_an_image_comes_and_is_proven(case: AdminCase) -> None:
    image = case.add(1, 2, 3, tail=10)
    image.tokens = {"t"}
    (told,) = await prefetch(case, image)
    size = 2 * CHUNK + 10
    assert told.error is None
    assert (told.size_bytes, told.cached_bytes, told.fetched_bytes) == (size, size, size)
    shown = await case.inspection.show(image.id)
    assert (shown.knowledge, shown.cached.cached_bytes) == ("proven", size)
    sent = image.sent_bytes
    assert await case.read(image).task == image.content.read(0, size)
    assert image.sent_bytes == sent


async def test_what_is_there_is_not_asked_for(case: AdminCase) -> None:
    image = await case.cached(1, 2, 3)
    requests = len(image.data_requests)
    (told,) = await prefetch(case, image, token=None)
    assert (told.cached_bytes, told.fetched_bytes, told.error) == (3 * CHUNK, 0, None)
    assert len(image.data_requests) == requests


async def test_only_what_is_absent_comes(case: AdminCase) -> None:
    image, _ = await case.cached(1, 2, 3), await case.cached(2)
    await evict(case, image)
    sent = image.sent_bytes
    (told,) = await prefetch(case, image)
    assert told.fetched_bytes == 2 * CHUNK
    assert image.sent_bytes - sent == 2 * CHUNK


async def test_it_joins_the_fill_that_runs(
    case: AdminCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = case.add(1, 2, 3, 4)
    hold = image.hold_at(CHUNK)
    reading = case.read(image)
    await hold.reached.wait()
    (fill,) = case.flights.in_progress()
    joined, plain = asyncio.Event(), fill.demand

    def demand(*args: Any, **more: Any) -> Demand:
        joined.set()
        return plain(*args, **more)

    monkeypatch.setattr(fill, "demand", demand)
    task = asyncio.create_task(case.operations.prefetch([image.id], "t", Watch()))
    await joined.wait()
    assert fill.readers == 2
    hold.release.set()
    await asyncio.gather(task, reading.task)
    assert image.sent_bytes == 4 * CHUNK


async def test_its_progress_can_be_seen(case: AdminCase) -> None:
    image = case.add(1, 2, 3, 4)
    hold = image.hold_at(2 * CHUNK + 1)
    watch = Watch()
    task = asyncio.create_task(case.operations.prefetch([image.id], "t", watch))
    await hold.reached.wait()
    (fill,) = case.flights.in_progress()
    for index in range(2):
        if not fill.content.present(index):
            await fill.landed(index)
    assert watch.look is not None
    seen = watch.look()
    assert (seen.image, seen.phase) == (image.id, "fetch")
    assert (seen.done_bytes, seen.total_bytes) == (2 * CHUNK, 4 * CHUNK)
    hold.release.set()
    await task
    assert watch.look().done_bytes == 4 * CHUNK


async def test_who_cancels_it_leaves_no_demand_behind(tmp_path: Path) -> None:
    async with administered(tmp_path / "cache", complete_in_background=False) as case:
        image = case.add(1, 2, 3, 4)
        hold = image.hold_at(2 * CHUNK)
        task = asyncio.create_task(case.operations.prefetch([image.id], "t", Watch()))
        await hold.reached.wait()
        (fill,) = case.flights.in_progress()
        task.cancel()
        await asyncio.wait([task])
        assert fill.readers == 0
        hold.release.set()
        await case.idle()


async def test_an_empty_image_needs_nothing(case: AdminCase) -> None:
    image = case.origin.add(b"")
    (told,) = await prefetch(case, image)
    assert (told.size_bytes, told.cached_bytes, told.error) == (0, 0, None)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (None, "the upstream answers 401 (asked without a token)"),
        ("wrong", "the upstream answers 403 (asked with this token)"),
    ],
)
async def test_who_may_not_have_it_is_told_so(
    case: AdminCase, token: str | None, said: str
) -> None:
    image = case.add(1)
    image.tokens, image.show_status = {"t"}, 403
    (told,) = await prefetch(case, image, token=token)
    assert told.error == said
    assert (told.cached_bytes, case.chunk_files()) == (0, 0)


async def test_data_that_is_refused(case: AdminCase) -> None:
    image = case.add(1)
    image.tokens = {"t"}
    (told,) = await prefetch(case, image, token=None)
    assert told.error == "upstream answered 401: Unauthorized (asked without a token)"


async def test_without_a_token_the_own_account_is_used_if_anything_is_missing(
    case: AdminCase,
) -> None:
    image = case.add(1, 2)
    image.tokens = {"own"}
    case.account.token = "own"
    (told,) = await prefetch(case, image, token=None)
    assert (told.error, told.cached_bytes, case.account.asked) == (None, 2 * CHUNK, 1)
    (told,) = await prefetch(case, image, token=None)
    assert (told.cached_bytes, case.account.asked) == (2 * CHUNK, 1)
    other = case.add(3)
    other.tokens = {"an operator's"}
    (told,) = await prefetch(case, other, token=None)
    assert told.error == ("upstream answered 403: Forbidden (asked with the proxy's own account)")


async def test_one_that_fails_does_not_stop_the_others(case: AdminCase) -> None:
    good, lost, large = case.add(1), case.add(2), case.add(3)
    lost.data_status = 404
    large.record["size"] = case.settings.limit_bytes + 1
    told = await prefetch(case, lost, large, good)
    assert [each.error is None for each in told] == [False, False, True]
    assert told[1].error is not None
    assert "larger than the cache" in told[1].error


async def test_wrong_bytes_are_told(case: AdminCase) -> None:
    image = case.add(1, 2)
    image.wrong_at = 5
    (told,) = await prefetch(case, image)
    assert told.error == "the image's data does not match its hash"
    await case.idle()
    assert case.chunk_files() == 0


async def test_an_upstream_that_is_away(case: AdminCase) -> None:
    image = case.add(1)
    await case.upstream.close()
    away = UpstreamSettings("http://127.0.0.1:1")
    case.upstream._endpoints = Endpoints(away, Board.create(1).meter(0))
    (told,) = await prefetch(case, image)
    assert told.error == "the upstream cannot be reached"


async def test_nobody_needs_to_wait(case: AdminCase, caplog: pytest.LogCaptureFixture) -> None:
    good, lost = case.add(1, 2), case.add(3)
    lost.data_status = 404
    told = case.operations.prefetch_later([good.id, lost.id], "t")
    assert not told.waited
    while case.operations._background:
        await asyncio.wait(case.operations._background)
        await asyncio.sleep(0)
    assert await present(case, good) == 2 * CHUNK
    assert f"prefetching {lost.id} failed" in caplog.text


async def test_the_background_is_bounded_and_ends_with_the_keeper(
    case: AdminCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BACKGROUND_MAX", 1)
    image = case.add(1, 2, 3)
    hold = image.hold_at(CHUNK)
    case.operations.prefetch_later([image.id], "t")
    await hold.reached.wait()
    with pytest.raises(OperationError, match="wait for one to end") as caught:
        case.operations.prefetch_later([image.id], "t")
    assert caught.value.code == "busy"
    await case.operations.close()
    assert not case.operations._background
    hold.release.set()


async def test_a_token_is_in_no_text(case: AdminCase, caplog: pytest.LogCaptureFixture) -> None:
    image = case.add(1)
    image.tokens = {"other"}
    told = await prefetch(case, image, token="s3cret")
    assert told[0].error is not None
    assert "s3cret" not in f"{told} {caplog.text} {case.flights!r} {case.operations!r}"
