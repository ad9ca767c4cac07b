"""Manifests that the catalog publishes: our own catalog's, right ones, wrong ones, and none."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.metrics import EQUATIONS, MANIFEST_RESULTS
from harness.catalog import running_catalog
from harness.downloads import clients
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.node import async_node
from harness.origin import Content, OriginImage
from harness.publication import Publication
from harness.story import CHUNK, Story, figure, story, total

SIZE = 6 * CHUNK + 77
DATA = random_bytes(SIZE, seed=40)
OTHER = random_bytes(SIZE, seed=41)
MIXED = DATA[: 3 * CHUNK] + OTHER[3 * CHUNK :]
ROOT_AND_PAGE_BYTES = 24 + 32 + 7 * 32
ORIGINS: dict[str, dict[str, Any]] = {
    "ranges": {"ranges": "yes"},
    "no ranges": {"ranges": "refused"},
    "ranges ignored": {"ranges": "ignored"},
}


def publish(told: Story, data: bytes = DATA, **how: Any) -> OriginImage:
    image = told.glance.add(data, **how)
    image.publish(CHUNK)
    return image


def given(image: OriginImage) -> Publication:
    assert image.publication is not None
    return image.publication


def tag(image: OriginImage) -> str:
    return f'"{image.id}"'


# --- what they are good for -----------------------------------------------------------------------


async def test_the_first_range_costs_its_chunk_and_is_proven(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = publish(told)
        start = 4 * CHUNK + 11
        first = told.ask(image.id, f"bytes={start}-{start + 99}")
        assert await first.body() == DATA[start : start + 100]
        assert first.headers["etag"] == tag(image)
        samples = await told.idle()
        assert image.sent_bytes == CHUNK  # nothing is completed in the background either
        assert figure(samples, "manifests_total", result="used") == 1
        assert figure(samples, "manifest_bytes_total") == ROOT_AND_PAGE_BYTES
        assert given(image).roots_asked == 1
        whole = told.ask(image.id)
        assert await whole.body() == DATA
        assert image.sent_bytes == SIZE
        assert given(image).roots_asked == 1


async def test_conditions_hold_from_the_first_request_on(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        resumed, unchanged, headed = (publish(told, DATA[:n]) for n in (SIZE, 99, 7))
        again = told.ask(resumed.id, f"bytes={5 * CHUNK}-", headers={"If-Range": tag(resumed)})
        assert await again.body() == DATA[5 * CHUNK :]
        assert again.status == 206
        same = told.ask(unchanged.id, headers={"If-None-Match": tag(unchanged)})
        await same.ended()
        assert same.status == 304
        head = told.ask(headed.id, method="HEAD")
        await head.ended()
        assert head.headers["etag"] == tag(headed)
        await told.idle()
        assert (unchanged.data_requests, headed.data_requests) == ([], [])


@pytest.mark.parametrize("kind", ORIGINS)
async def test_nothing_is_withheld(tmp_path: Path, kind: str) -> None:
    async with story(tmp_path) as told:
        image = publish(told, **ORIGINS[kind])
        hold = image.hold_at(SIZE - 7)
        whole = told.ask(image.id)
        await hold.reached.wait()
        await whole.received(6 * CHUNK)
        hold.release.set()
        assert await whole.body() == DATA
        await told.idle()
        assert image.sent_bytes == SIZE


async def test_equal_images_are_fetched_once_and_joined(tmp_path: Path) -> None:
    async with story(tmp_path, workers=3) as told:
        images = [publish(told) for _ in range(4)]
        for image, token in zip(images, "abcd", strict=True):
            image.tokens = {token}  # each reader may read his own image only
        hold = images[0].hold_at(2 * CHUNK + 1)
        one = told.ask(images[0].id, token="a")
        await hold.reached.wait()
        rest = [told.ask(i.id, token=t) for i, t in zip(images[1:], "bcd", strict=True)]
        for reader in rest:
            await reader.received(2 * CHUNK)
        hold.release.set()
        for reader in (one, *rest):
            assert await reader.body() == DATA
        samples = await told.idle()
        assert sum(image.sent_bytes for image in images) == SIZE
        assert figure(samples, "flights_joined_total") >= 3
        assert told.chunk_files() == 7
        # It is still each upstream's word that decides who may.
        refused = told.ask(images[1].id, token="a")
        await refused.ended()
        assert refused.status == 403


async def test_images_that_share_chunks_fetch_them_once(tmp_path: Path) -> None:
    async with story(tmp_path, workers=2) as told:
        base, derived = publish(told), publish(told, MIXED)
        hold = base.hold_at(2 * CHUNK + 1)
        one = told.ask(base.id)
        await hold.reached.wait()
        two = told.ask(derived.id)
        await two.received(2 * CHUNK)
        assert derived.data_requests == []
        hold.release.set()
        assert await one.body() == DATA
        assert await two.body() == MIXED
        await told.idle()
        assert (base.sent_bytes, derived.sent_bytes) == (SIZE, SIZE - 3 * CHUNK)
        assert told.chunk_files() == 7 + 4


async def test_what_was_learned_is_taken_over(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        learned = told.glance.add(DATA)
        assert await told.ask(learned.id).body() == DATA
        await told.idle()
        image = publish(told)
        assert await told.ask(image.id).body() == DATA
        assert await told.ended("hit") == 1
        assert image.sent_bytes == 0
        assert await told.ask(learned.id).body() == DATA


async def test_an_image_larger_than_the_cache(tmp_path: Path) -> None:
    limit = 96 << 20
    size = limit + 5 * CHUNK

    def read(start: int, stop: int) -> bytes:
        first = start % CHUNK  # every chunk is the same
        return (DATA[:CHUNK] * (2 + (stop - start) // CHUNK))[first : first + stop - start]

    async with story(tmp_path, limit_bytes=limit) as told:
        image = told.glance.add(Content(size, read))
        image.publish(CHUNK)
        assert await told.ask(image.id, f"bytes={limit}-{limit + 9}").body() == DATA[:10]
        await told.idle()
        assert image.sent_bytes == CHUNK
        assert await told.ask(image.id, "bytes=0-9").body() == DATA[:10]
        assert await told.ended("hit") == 1


# --- restarts -------------------------------------------------------------------------------------


async def test_published_content_outlives_a_restart(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = publish(told)
        assert await told.ask(image.id, f"bytes=0-{2 * CHUNK - 1}").body() == DATA[: 2 * CHUNK]
        await told.idle()
    async with story(tmp_path) as told:
        told.glance.images[image.id] = image
        part = told.ask(image.id, f"bytes=0-{2 * CHUNK - 1}")
        assert await part.body() == DATA[: 2 * CHUNK]
        assert part.headers["etag"] == tag(image)
        assert await told.ended("hit") == 1
        assert await told.ask(image.id).body() == DATA
        await told.idle()
    assert image.sent_bytes == SIZE
    assert (given(image).roots_asked, given(image).pages_asked) == (1, [(0, 1)])


@pytest.mark.parametrize("part", ["root", "pages"])
async def test_the_keeper_is_killed_while_a_manifest_comes(tmp_path: Path, part: str) -> None:
    async with story(tmp_path) as told:
        image = publish(told)
        stall = given(image).stall("root" if part == "root" else "pages")
        reader = told.ask(image.id)
        await stall.reached.wait()
        told.process("keeper").send_signal(signal.SIGKILL)
        assert await reader.body() == DATA  # round the cache
        stall.release.set()
        await told.counted("child_starts_total", 2, kind="keeper")
        while await told.ended("hit") == 0:  # the worker gets its new link
            assert await told.ask(image.id).body() == DATA
        assert figure(await told.idle(), "requests_total", result="error") == 0
        assert told.chunk_files() == 7


async def test_the_keeper_is_killed_in_the_middle_of_a_fill(tmp_path: Path) -> None:
    async with story(tmp_path, workers=2) as told:
        image = publish(told)
        hold = image.hold_at(3 * CHUNK + 7)
        reader, tail = told.ask(image.id), told.ask(image.id, "bytes=-9")
        await hold.reached.wait()
        await reader.received(2 * CHUNK)
        told.process("keeper").send_signal(signal.SIGKILL)
        hold.release.set()
        assert await reader.body() == DATA
        assert await tail.body() == DATA[-9:]
        await told.counted("child_starts_total", 2, kind="keeper")
        while await told.ended("hit") == 0:
            assert await told.ask(image.id).body() == DATA
        await told.idle()
        assert told.chunk_files() == 7


# --- wrong bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ORIGINS)
async def test_a_wrong_byte_never_leaves(tmp_path: Path, kind: str) -> None:
    async with story(tmp_path) as told:
        image = publish(told, wrong_at=3 * CHUNK + 5, **ORIGINS[kind])
        whole = told.ask(image.id)
        assert await whole.ended() == "reset"
        assert bytes(whole.data) == DATA[: len(whole.data)]
        assert len(whole.data) <= 3 * CHUNK
        inside = told.ask(image.id, f"bytes={3 * CHUNK}-{3 * CHUNK + 9}")
        assert await inside.ended() == "whole"
        assert inside.status == 502
        beside = told.ask(image.id, f"bytes={4 * CHUNK}-")
        assert await beside.body() == DATA[4 * CHUNK :]
        samples = await told.idle()
        assert figure(samples, "requests_total", result="bypass") == 0
        assert figure(samples, "requests_total", result="error") == 2
        assert told.chunk_files() == 6
        image.wrong_at = None
        assert await told.ask(image.id).body() == DATA


async def test_a_byte_that_is_wrong_once_is_nobodys_business(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = publish(told, wrong_at=3 * CHUNK + 5, wrong_times=1)
        assert await told.ask(image.id).body() == DATA
        samples = await told.idle()
        assert image.sent_bytes == SIZE + CHUNK
        assert figure(samples, "verify_failures_total") == 1
        assert figure(samples, "requests_total", result="error") == 0


# --- manifests that are none ----------------------------------------------------------------------


def _no_endpoint(image: OriginImage) -> None:
    image.publication = None  # a stock Glance, whose user has set the property


def _another_root(image: OriginImage) -> None:
    given(image).root = given(image).root[:-1] + b"x"


def _another_page(image: OriginImage) -> None:
    given(image).pages[0] = bytes(len(given(image).pages[0]))


def _another_size(image: OriginImage) -> None:
    shorter = OriginImage("", Content.of(DATA[:-1]), {}).publish(CHUNK)
    image.publication, image.record["os_manifest"] = shorter, shorter.name


def _root_is_cut(image: OriginImage) -> None:
    given(image).cuts["root"] = 9


def _root_fails(image: OriginImage) -> None:
    given(image).status["root"] = 500


def _root_stalls(image: OriginImage) -> None:
    given(image).stall("root")


def _page_is_gone(image: OriginImage) -> None:
    given(image).status["pages"] = 404


UNUSABLE: list[tuple[Callable[[OriginImage], None], str]] = [
    (_no_endpoint, "none"),
    (_another_root, "wrong"),
    (_another_size, "wrong"),
    (_root_is_cut, "failed"),
    (_root_fails, "failed"),
    (_root_stalls, "failed"),
]


@pytest.mark.parametrize(("spoil", "result"), UNUSABLE)
async def test_without_a_manifest_images_are_learned(
    tmp_path: Path, spoil: Callable[[OriginImage], None], result: str
) -> None:
    async with story(tmp_path, workers=2) as told:
        image = publish(told)
        spoil(image)
        hold = image.hold_at(SIZE - 7)  # who comes when it is learned has its tag
        readers = [told.ask(image.id) for _ in range(3)]
        for reader in readers:
            await reader.answered()
        hold.release.set()
        for reader in readers:
            assert await reader.body() == DATA
            assert "etag" not in reader.headers
        samples = await told.idle()
        for each in MANIFEST_RESULTS:
            assert figure(samples, "manifests_total", result=each) == (each == result)
        assert image.sent_bytes == SIZE
        again = told.ask(image.id)
        assert await again.body() == DATA
        assert again.headers["etag"] == tag(image)
        assert await told.ended("hit") == 1


@pytest.mark.parametrize("spoil", [_another_page, _page_is_gone])
async def test_without_pages_readers_go_round_and_then_the_image_is_learned(
    tmp_path: Path, spoil: Callable[[OriginImage], None]
) -> None:
    async with story(tmp_path) as told:
        image = publish(told)
        spoil(image)
        assert await told.ask(image.id).body() == DATA
        assert await told.ended("bypass") == 1
        assert await told.ask(image.id).body() == DATA
        assert await told.ended("miss") == 1
        assert await told.ask(image.id).body() == DATA
        assert await told.ended("hit") == 1
        assert image.sent_bytes == 2 * SIZE


async def test_who_sets_the_property_gets_nobodys_bytes(tmp_path: Path) -> None:
    """The name of a manifest is no secret to whoever may show its image; nor is a hash."""
    async with story(tmp_path) as told:
        secret = publish(told)
        assert await told.ask(secret.id).body() == DATA
        claims = {name: secret.record[name] for name in secret.record if name.startswith("os_")}
        liar = told.glance.add(OTHER, record=claims)
        caught = told.ask(liar.id)
        assert await caught.ended() == "reset"
        assert OTHER.startswith(caught.data)
        assert await told.ask(secret.id).body() == DATA
        await told.idle()
        assert secret.sent_bytes == SIZE


# --- our own catalog ------------------------------------------------------------------------------


async def test_in_front_of_our_catalog(tmp_path: Path) -> None:
    """Upload through one node; a second, cold one reads ranges of two equal images."""
    for name in ("registry", "first", "second"):
        (tmp_path / name).mkdir()
    context = running_catalog(tmp_path / "registry")
    catalog = await asyncio.to_thread(context.__enter__)
    try:
        async with async_node(tmp_path / "first", catalog.url) as first:
            uploads = ImagesApi(first.url, {})
            images = [await asyncio.to_thread(uploads.add, data) for data in (DATA, DATA, MIXED)]
        async with (
            async_node(tmp_path / "second", catalog.url, workers=2) as node,
            clients(node.url) as ask,
        ):
            one, two, mixed = images
            assert await ask(one, "bytes=-5").body() == DATA[-5:]

            async def fetched() -> float:
                samples = await asyncio.to_thread(node.metrics)
                return figure(samples, "upstream_bytes_total")

            assert await fetched() == SIZE - 6 * CHUNK
            bodies = await asyncio.gather(*(ask(image).body() for image in (one, two)))
            assert bodies == [DATA, DATA]
            assert await fetched() == SIZE
            assert await ask(mixed).body() == MIXED
            assert await fetched() == 2 * SIZE - 3 * CHUNK
            samples = await asyncio.to_thread(node.metrics)
            assert figure(samples, "manifests_total", result="used") == 3
            for equation in EQUATIONS:
                assert equation.holds(lambda metric, labels: total(samples, metric, labels))
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
