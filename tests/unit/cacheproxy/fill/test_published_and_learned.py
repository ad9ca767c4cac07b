"""What was learnt meets what is published: the published manifest stays, nothing is fetched twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from cacheproxy.core.facts import ImageFacts
from cacheproxy.metrics import UPSTREAM_BYTES
from harness.fill_case import CHUNK, Case, credential_for, facts_of, started
from harness.origin import Origin
from harness.published_case import DATA, OTHER, SIZE, add, asked

pytestmark = pytest.mark.usefixtures("no_pause")


async def test_a_learned_content_is_replaced_by_the_published_one(case: Case) -> None:
    learned = case.origin.add(DATA)
    assert await case.read(learned).task == DATA
    await case.idle()
    image = add(case.origin)
    reading = case.read(image)
    assert await reading.task == DATA
    assert not any(reading.fetched)
    content = await case.admit(learned)
    assert content.key == (await case.admit(image)).key
    record = case.store.content(content.key)
    assert record is not None
    assert record.published
    assert asked(image) == (1, [])  # the pages that were learnt are the right ones
    assert await case.read(learned).task == DATA


async def test_what_is_learnt_later_does_not_replace_it(case: Case) -> None:
    image, learned = add(case.origin), case.origin.add(DATA)
    assert await case.read(image, 0, 5).task == DATA[:5]
    assert await case.read(learned).task == DATA
    await case.idle()
    content = await case.admit(learned)
    assert content.key == (await case.admit(image)).key
    record = case.store.content(content.key)
    assert record is not None
    assert record.published
    assert image.sent_bytes + learned.sent_bytes == SIZE + CHUNK
    assert await case.read(image).task == DATA
    assert image.sent_bytes == CHUNK


async def test_what_is_learnt_later_brings_the_pages_that_are_absent(
    glance: Origin, tmp_path: Path
) -> None:
    image, learned = add(glance), glance.add(DATA)
    async with started(glance, tmp_path / "cache") as case:
        assert await case.flights.adopt(facts_of(image), credential_for(image))  # its root alone
        assert await case.read(learned).task == DATA
        await case.idle()
    async with started(glance, tmp_path / "cache") as case:
        # Nobody gives its reader a page: the catalog has no manifest of this image.
        assert await case.read(learned).task == DATA
        assert await case.read(image).task == DATA
        await case.idle()
    assert (image.sent_bytes, learned.sent_bytes) == (0, SIZE)
    assert asked(image) == (1, [])


async def test_what_is_learnt_later_is_held_against_the_root(case: Case) -> None:
    liar = add(case.origin, OTHER)
    honest = case.origin.add(DATA)
    liar.record["os_hash_value"] = honest.record["os_hash_value"]  # of a catalog that is broken
    assert await case.flights.adopt(facts_of(liar), credential_for(liar))
    assert await case.read(honest).task == DATA
    await case.idle()
    key = (await case.admit(liar)).key
    assert case.flights.contents.pages.page(key, 0) is None
    assert case.store.manifest_page(key, 0) is None


async def test_a_fill_that_learns_is_not_disturbed(case: Case) -> None:
    image = case.origin.add(DATA)
    hold = image.hold_at(CHUNK + 1)
    first = case.read(image)
    await hold.reached.wait()
    given = image.publish(CHUNK)
    second = case.read(image)
    await second.first.wait()
    hold.release.set()
    assert (await first.task, await second.task) == (DATA, DATA)
    await case.idle()
    assert image.sent_bytes == SIZE
    assert given.roots_asked == 0


async def test_half_of_a_learned_content_is_taken_over(glance: Origin, tmp_path: Path) -> None:
    image = glance.add(DATA)
    async with started(glance, tmp_path / "cache", complete_in_background=False) as case:
        assert await case.read(image, 0, CHUNK).task == DATA[:CHUNK]
        await case.idle()
        private = (await case.admit(image)).key
        assert case.store.content(private) is not None
        image.publish(CHUNK)
        assert await case.read(image).task == DATA
        await case.idle()
        assert image.sent_bytes == SIZE
        assert case.store.content(private) is None


async def test_trusted_hashes_do_not_need_pages_that_are_to_come(
    glance: Origin, tmp_path: Path
) -> None:
    async with started(glance, tmp_path / "cache", trust=True) as case:
        image = add(glance)
        assert await case.flights.adopt(facts_of(image), credential_for(image))
        without = glance.add(DATA)
        assert (await case.admit(without)).key != (await case.admit(image)).key
        assert await case.read(without).task == DATA
        await case.idle()
        assert without.sent_bytes == SIZE
        assert case.board.total(UPSTREAM_BYTES) == SIZE


async def test_an_image_without_a_usable_hash_is_published_for_itself(case: Case) -> None:
    image = add(case.origin, record={"os_hash_algo": None, "os_hash_value": None})
    assert await case.read(image, CHUNK, CHUNK + 5).task == DATA[CHUNK : CHUNK + 5]
    await case.idle()
    assert image.sent_bytes == CHUNK
    facts = case.flights.contents.describe(image.id)
    assert isinstance(facts, ImageFacts)
