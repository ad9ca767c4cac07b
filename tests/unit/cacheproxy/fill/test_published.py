"""Fills under a published manifest: any chunk alone, equal content once, wrong bytes never."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from backends.manifest import PAGE_DIGESTS
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import FillFailedError, ProofFailedError
from cacheproxy.fill import patience, published
from cacheproxy.metrics import FLIGHTS_JOINED, MANIFEST_BYTES, MANIFESTS, UPSTREAM_BYTES
from harness.fill_case import CHUNK, Case, credential_for, facts_of, started
from harness.origin import Content, Origin, OriginImage

SIZE = 6 * CHUNK + 1000
DATA = random.Random(11).randbytes(SIZE)
OTHER = random.Random(12).randbytes(SIZE)
SOURCES: list[dict[str, Any]] = [
    {"ranges": "yes"},
    {"ranges": "refused"},
    {"ranges": "ignored"},
]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(published, "BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr(patience, "BACKOFF_SECONDS", 0.0)


def add(glance: Origin, data: bytes | Content = DATA, **how: Any) -> OriginImage:
    image = glance.add(data, **how)
    image.publish(CHUNK)
    return image


def asked(image: OriginImage) -> tuple[int, list[tuple[int, int]]]:
    assert image.publication is not None
    return image.publication.roots_asked, image.publication.pages_asked


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


# --- pages ----------------------------------------------------------------------------------------


def islands(chunks: dict[int, bytes], pages: int = 3) -> Content:
    """Return a content of three pages (and a bit) of zeros, but for these chunks."""
    size = (pages * PAGE_DIGESTS + 5) * CHUNK

    def read(start: int, stop: int) -> bytes:
        data = bytearray(stop - start)
        for index, chunk in chunks.items():
            first, last = max(start, index * CHUNK), min(stop, index * CHUNK + CHUNK)
            if first < last:
                data[first - start : last - start] = chunk[first - index * CHUNK :][: last - first]
        return bytes(data)

    return Content(size, read)


ISLANDS = islands({1: DATA[:CHUNK], 2 * PAGE_DIGESTS: OTHER[:CHUNK]})


async def test_only_the_pages_that_are_read_are_fetched(case: Case) -> None:
    image = add(case.origin, ISLANDS)
    start = 2 * PAGE_DIGESTS * CHUNK
    assert await case.read(image, start + 5, start + 9).task == OTHER[5:9]
    assert asked(image)[1] == [(2, 1)]
    # Whoever wants more gets the pages up to his end with one request, but not what is there.
    assert await case.read(image, CHUNK, start + 1).task is not None
    assert asked(image)[1] == [(2, 1), (0, 2)]
    await case.idle()
    assert image.sent_bytes == 2 * CHUNK


async def test_many_readers_ask_for_a_page_once(case: Case) -> None:
    image = add(case.origin, ISLANDS)
    assert image.publication is not None
    stall = image.publication.stall("pages")
    readers = [case.read(image, CHUNK, CHUNK + n, token=str(n)) for n in range(1, 9)]
    await stall.reached.wait()
    readers[0].task.cancel()  # what it has begun goes on
    await asyncio.wait([readers[0].task])
    stall.release.set()
    for n, reading in enumerate(readers[1:], 2):
        assert await reading.task == DATA[:n]
    await case.idle()
    assert asked(image) == (1, [(0, 1)])
    assert image.sent_bytes == CHUNK


async def test_pages_on_their_way_are_not_asked_for_again(case: Case) -> None:
    image = add(case.origin, ISLANDS)
    assert image.publication is not None
    stall = image.publication.stall("pages")
    start = 2 * PAGE_DIGESTS * CHUNK
    last = case.read(image, start, start + 5)
    await stall.reached.wait()
    more = case.read(image, CHUNK, start + 5)
    stall.release.set()
    assert await last.task == OTHER[:5]
    assert len(await more.task) == start + 5 - CHUNK
    assert asked(image)[1] == [(2, 1), (0, 2)]
    await case.idle()


async def test_a_source_without_ranges_brings_more_than_was_asked_for(case: Case) -> None:
    """What it sends before the reader's part is kept, so its pages are needed as well."""
    image = add(case.origin, islands({1: DATA[:CHUNK]}, pages=1), ranges="refused")
    start = PAGE_DIGESTS * CHUNK
    assert await case.read(image, start, start + 5).task == bytes(5)  # nothing to fetch
    assert asked(image)[1] == [(1, 1)]
    image = add(case.origin, islands({1: DATA[:CHUNK], PAGE_DIGESTS: OTHER[:CHUNK]}, pages=1))
    image.ranges = "refused"
    assert await case.read(image, start, start + 5).task == OTHER[:5]
    assert asked(image)[1] == [(1, 1), (0, 1)]
    await case.idle()
    assert await case.read(image, CHUNK, CHUNK + 5).task == DATA[:5]
    assert len(image.data_requests) == 2  # the range that was refused, and the whole


async def test_a_page_that_is_late_or_cut_is_asked_for_again(case: Case) -> None:
    image = add(case.origin)
    assert image.publication is not None
    image.publication.cuts["pages"] = 2
    assert await case.read(image, 0, 5).task == DATA[:5]
    await case.idle()
    assert asked(image) == (1, [(0, 1)] * 3)


@pytest.mark.parametrize("lie", ["another page", "too short", "too long", "gone"])
async def test_a_wrong_page_ends_the_belief(case: Case, lie: str) -> None:
    image = add(case.origin)
    assert image.publication is not None
    (page,) = image.publication.pages
    lies = {"another page": bytes(len(page)), "too short": page[:-1], "too long": page + b"x"}
    if lie in lies:
        image.publication.pages[0] = lies[lie]
    else:
        image.publication.status["pages"] = 404
    with pytest.raises(FillFailedError):
        await case.read(image).task
    await case.idle()
    assert case.flights.contents.describe(image.id) is None
    before = asked(image)
    assert await case.read(image).task == DATA  # learnt
    await case.idle()
    assert asked(image) == before
    assert case.flights.contents.describe(image.id) is not None
    assert image.sent_bytes == SIZE


async def test_pages_that_do_not_come_leave_the_belief(case: Case) -> None:
    image = add(case.origin)
    assert image.publication is not None
    image.publication.status["pages"] = 503
    with pytest.raises(FillFailedError):
        await case.read(image).task
    image.publication.status.clear()
    assert await case.read(image).task == DATA
    await case.idle()
    assert asked(image)[0] == 1


async def test_a_page_damaged_in_the_index_is_fetched_again(glance: Origin, tmp_path: Path) -> None:
    image = add(glance)
    async with started(glance, tmp_path / "cache") as case:
        assert await case.read(image, 0, 5).task == DATA[:5]
        await case.idle()
        content = await case.admit(image)
        page = case.store.manifest_page(content.key, 0)
        assert page is not None
        case.store.put_manifest_page(content.key, 0, bytes(32) + page[32:])
    async with started(glance, tmp_path / "cache") as case:
        reading = case.read(image)
        assert await reading.task == DATA
        assert reading.fetched[0] is False
        await case.idle()
    assert asked(image) == (1, [(0, 1)] * 2)


# --- manifests that are none ----------------------------------------------------------------------


def forge(image: OriginImage, how: str) -> None:
    """Make a published manifest useless."""
    given = image.publication
    assert given is not None
    match how:
        case "no endpoint":
            image.publication = None
        case "another root":
            given.root = given.root[:-1] + bytes([given.root[-1] ^ 1])
        case "a root that is too long":
            given.root += b"x"
        case "a page of HTML":
            given.root = b"<html>welcome</html>"
        case "of another size":
            image.record["os_manifest"] = (
                OriginImage("", Content.of(DATA[1:]), {}).publish(CHUNK).name
            )
        case "of another image":
            other = OriginImage("", Content.of(DATA[1:]), {}).publish(CHUNK)
            given.root, given.pages = other.root, other.pages
            image.record["os_manifest"] = other.name
        case "no name":
            image.record["os_manifest"] = "yes"
        case "no text":
            image.record["os_manifest"] = ["1", 2]
        case "cut":
            given.cuts["root"] = 9
        case "stalled":
            given.stall("root")
        case status:
            given.status["root"] = int(status)


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("no endpoint", "none"),
        ("404", "none"),
        ("301", "none"),
        ("500", "failed"),
        ("another root", "wrong"),
        ("a root that is too long", "wrong"),
        ("a page of HTML", "wrong"),
        ("of another size", "wrong"),
        ("of another image", "wrong"),
        ("no name", "wrong"),
        ("no text", None),
        ("cut", "failed"),
        ("stalled", "failed"),
    ],
)
async def test_without_a_manifest_the_image_is_learnt(
    case: Case, how: str, result: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "ROOT_SECONDS_MAX", 0.2)
    image = add(case.origin)
    forge(image, how)
    hold = image.hold_at(SIZE - 1)
    part, whole = case.read(image, 0, 10), case.read(image)
    await hold.reached.wait()
    assert not whole.task.done()
    assert not (await case.admit(image)).proven
    hold.release.set()
    assert (await part.task, await whole.task) == (DATA[:10], DATA)
    await case.idle()
    assert image.sent_bytes == SIZE
    # Counted, and not asked again.
    counts = {each: case.board.total(MANIFESTS, (each,)) for each in ("none", "wrong", "failed")}
    assert counts == {each: float(each == result) for each in counts}
    if image.publication is not None:
        assert image.publication.roots_asked <= 1
        assert image.publication.pages_asked == []


async def test_a_forged_name_gives_nobody_anothers_bytes(case: Case) -> None:
    """In front of a stock Glance a user may set any property, and claim any hash with a location."""
    honest = add(case.origin)
    assert await case.read(honest).task == DATA
    await case.idle()
    claims = {name: honest.record[name] for name in honest.record if name.startswith("os_")}
    liar = case.origin.add(OTHER, record=claims)
    assert liar.record["os_manifest"] == honest.record["os_manifest"]
    reading = case.read(liar)
    with pytest.raises(ProofFailedError):
        await reading.task
    assert OTHER.startswith(reading.data)
    await case.idle()
    again = case.read(honest)
    assert await again.task == DATA
    assert not any(again.fetched)


async def test_two_manifests_of_one_content_contradict_each_other(case: Case) -> None:
    honest = add(case.origin)
    assert await case.read(honest).task == DATA
    await case.idle()
    liar = add(case.origin, OTHER, record={"os_hash_value": honest.record["os_hash_value"]})
    assert not (await case.admit(liar)).proven
    assert case.board.total(MANIFESTS, ("wrong",)) == 1
    assert await case.read(honest).task == DATA


async def test_a_refused_reader_does_not_decide_for_others(case: Case) -> None:
    image = add(case.origin)
    assert image.publication is not None
    image.publication.refused.add("bad")
    stall = image.publication.stall("root")
    refused, good = case.read(image, 0, 5, token="bad"), case.read(image, 0, 5, token="good")
    await stall.reached.wait()
    stall.release.set()
    assert await good.task == DATA[:5]
    assert await refused.task == DATA[:5]
    await case.idle()
    assert image.publication.roots_asked == 2
    assert case.board.total(MANIFESTS, ("used",)) == 1


async def test_refused_pages_are_asked_for_with_the_next_credentials(case: Case) -> None:
    image = add(case.origin)
    assert image.publication is not None
    assert await case.flights.adopt(facts_of(image), credential_for(image))
    image.publication.refused.add("bad")
    stall = image.publication.stall("pages")
    refused = case.read(image, 0, 5, token="bad")
    await stall.reached.wait()
    good = case.read(image, 0, 5, token="good")
    stall.release.set()
    assert await good.task == DATA[:5]
    with pytest.raises(FillFailedError):
        await refused.task
    await case.idle()


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


# --- learned contents -----------------------------------------------------------------------------


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
