"""Sources that fail or lie: what is kept, what is thrown away, and that the next reader is served."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.errors import DistrustedError, FillFailedError, ProofFailedError, StorageError
from cacheproxy.fill.patience import ATTEMPTS_MAX
from cacheproxy.metrics import UPSTREAM_BYTES
from cacheproxy.store.layout import Key, Table, page_name
from harness.fill_case import CHUNK, Case, facts_of, started
from harness.origin import Origin

SIZE = 4 * CHUNK + 1000
DATA = random.Random(2).randbytes(SIZE)
OTHER = random.Random(3).randbytes(SIZE)


async def test_a_cut_is_resumed_at_the_byte(case: Case) -> None:
    image = case.origin.add(DATA)
    image.cuts += [CHUNK + 77, 3 * CHUNK]
    assert await case.read(image).task == DATA
    await case.idle()
    assert len(image.data_requests) == 3
    assert case.board.total(UPSTREAM_BYTES) == SIZE  # no byte was received twice


@pytest.mark.parametrize("ranges", ["refused", "ignored"])
async def test_without_ranges_a_cut_source_is_read_again(case: Case, ranges: str) -> None:
    image = case.origin.add(DATA, ranges=ranges)
    image.cuts += [2 * CHUNK + 77]
    assert await case.read(image).task == DATA
    await case.idle()
    assert image.sent_bytes == SIZE + 2 * CHUNK + 77


async def test_a_source_that_stays_away_fails_and_what_came_is_kept(case: Case) -> None:
    image = case.origin.add(DATA)
    image.cuts += [2 * CHUNK] * 20
    reading = case.read(image)
    with pytest.raises(FillFailedError):
        await reading.task
    kept = len(reading.fetched)
    assert reading.data == DATA[: kept * CHUNK]
    await case.idle()
    image.cuts.clear()
    again = case.read(image)
    assert await again.task == DATA
    assert again.fetched == [index >= kept for index in range(5)]
    await case.idle()


@pytest.mark.parametrize("ranges", ["yes", "refused", "ignored"])
@pytest.mark.parametrize("wrong_at", [0, 2 * CHUNK, SIZE - 1])
async def test_one_wrong_byte_is_caught_and_nothing_is_kept(
    case: Case, ranges: str, wrong_at: int
) -> None:
    image = case.origin.add(DATA, ranges=ranges, wrong_at=wrong_at)
    reading = case.read(image)
    with pytest.raises(ProofFailedError):
        await reading.task
    # Never the last chunk; the proof may have failed before the reader came to the one before.
    assert len(reading.data) <= 4 * CHUNK
    await case.idle()
    assert case.chunk_files() == 0
    assert case.flights.contents.describe(image.id) is None
    image.wrong_at = None
    assert await case.read(image).task == DATA
    await case.idle()


async def test_a_manifest_that_lost_a_page_is_learnt_again(glance: Origin, tmp_path: Path) -> None:
    image = glance.add(DATA)
    async with started(glance, tmp_path / "cache") as case:
        assert await case.read(image).task == DATA
        await case.idle()
        key = (await case.admit(image)).key
        case.store._writer.write(Key(Table.PAGES, page_name(key.encode(), 0)), None)
    async with started(glance, tmp_path / "cache") as case:
        with pytest.raises(FillFailedError):  # this one goes round the cache
            await case.read(image).task
        for _ in range(2):
            assert await case.read(image).task == DATA
            await case.idle()
    assert image.sent_bytes == 2 * SIZE


async def test_a_proof_that_the_index_does_not_take_leaves_nobody_waiting(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = case.origin.add(DATA)
    hold = image.hold_at(SIZE - 1)
    readings = [case.read(image) for _ in range(3)]
    await hold.reached.wait()

    def refuse(*_: object) -> None:
        raise StorageError("the index does not take changes")

    monkeypatch.setattr(case.store, "put_content", refuse)
    hold.release.set()
    ended = await asyncio.gather(*(each.task for each in readings), return_exceptions=True)
    assert all(end == DATA or isinstance(end, StorageError) for end in ended)
    await case.idle()
    assert case.flights.contents.describe(image.id) is None
    monkeypatch.undo()
    assert await case.read(image).task == DATA
    await case.idle()
    assert case.flights.contents.describe(image.id) is not None


@pytest.mark.parametrize("surplus", [1, -1])
@pytest.mark.parametrize(
    "how",
    [
        {"ranges": "yes"},
        {"ranges": "refused"},
        {"ranges": "refused", "framing": "chunked"},
        {"ranges": "ignored", "framing": "close"},
    ],
)
async def test_one_byte_too_many_or_too_few(case: Case, surplus: int, how: dict[str, Any]) -> None:
    image = case.origin.add(DATA, surplus=surplus, **how)
    # Where only the connection's end tells the body's, too few bytes are a cut: what came is kept.
    cut = surplus < 0 and how.get("framing") == "close"
    with pytest.raises(FillFailedError if cut else ProofFailedError):
        await case.read(image).task
    await case.idle()
    assert case.chunk_files() == (4 if cut else 0)
    image.surplus = 0
    assert await case.read(image).task == DATA
    await case.idle()


async def test_after_three_failed_proofs_the_image_is_passed_through(case: Case) -> None:
    image = case.origin.add(DATA, wrong_at=5)
    for _ in range(3):
        with pytest.raises(ProofFailedError):
            await case.read(image).task
        await case.idle()
    sent = image.sent_bytes
    with pytest.raises(DistrustedError):
        await case.read(image).task
    assert image.sent_bytes == sent


@pytest.mark.parametrize("liar_first", [True, False])
@pytest.mark.parametrize("trust", [True, False])
async def test_an_image_that_claims_anothers_hash_harms_nobody(
    glance: Origin, tmp_path: Path, liar_first: bool, trust: bool
) -> None:
    async with started(glance, tmp_path / "cache", trust=trust) as case:
        honest = glance.add(DATA)
        claim = {key: honest.record[key] for key in ("os_hash_algo", "os_hash_value", "checksum")}
        liar = glance.add(OTHER, record=claim)
        if liar_first:
            with pytest.raises(ProofFailedError):
                await case.read(liar).task
            await case.idle()
            assert await case.read(honest).task == DATA
        else:
            assert await case.read(honest).task == DATA
            await case.idle()
            reading = case.read(liar)
            if trust:  # the operator's choice: the hash is believed
                assert await reading.task == DATA
                return
            with pytest.raises(ProofFailedError):
                await reading.task
            assert reading.data == OTHER[: 4 * CHUNK]  # its own bytes, never the other's
        await case.idle()
        again = case.read(honest)
        assert await again.task == DATA
        assert not any(again.fetched)


async def test_chunks_that_a_proven_content_shares_stay(case: Case) -> None:
    honest = case.origin.add(DATA)
    liar = case.origin.add(
        DATA[: 3 * CHUNK] + OTHER[3 * CHUNK :], record={"os_hash_value": "0" * 128}
    )
    assert await case.read(honest).task == DATA
    await case.idle()
    with pytest.raises(ProofFailedError):
        await case.read(liar).task
    await case.idle()
    assert case.chunk_files() == 5
    again = case.read(honest)
    assert await again.task == DATA
    assert not any(again.fetched)


async def test_a_proven_content_is_filled_again_chunk_by_chunk(case: Case) -> None:
    image = case.origin.add(DATA)
    assert await case.read(image).task == DATA
    await case.idle()
    content = await case.admit(image)
    digest = content.manifest.digest(2)
    assert digest is not None
    await case.store.drop([digest])
    reading = case.read(image)
    assert await reading.task == DATA
    assert reading.fetched == [False, False, True, False, False]
    await case.idle()
    assert image.sent_bytes == SIZE + CHUNK
    # Wrong bytes for a proven chunk never leave, and the manifest stays.
    await case.store.drop([digest])
    image.wrong_at = 2 * CHUNK
    with pytest.raises(ProofFailedError):
        await case.read(image).task
    await case.idle()
    image.wrong_at = None
    assert await case.read(image).task == DATA
    await case.idle()


async def test_refused_credentials_end_the_fill(case: Case) -> None:
    image = case.origin.add(DATA, data_status=403)
    with pytest.raises(FillFailedError):
        await case.read(image).task
    await case.idle()
    assert len(image.data_requests) == 1


async def test_a_chunk_that_goes_while_its_fill_runs_is_fetched_again(case: Case) -> None:
    """The scrubber finds it damaged, or a start that its file is gone: nobody may wait for ever."""
    image = case.origin.add(DATA)
    hold = image.hold_at(3 * CHUNK + 1)
    reading = case.read(image)
    await hold.reached.wait()
    assert await case.read(image, CHUNK, 2 * CHUNK).task == DATA[CHUNK : 2 * CHUNK]
    digest = (await case.admit(image)).manifest.digest(1)
    assert digest is not None
    case.store._entries.remove(digest, freed=0)
    assert await case.read(image, CHUNK, 2 * CHUNK).task == DATA[CHUNK : 2 * CHUNK]
    hold.release.set()
    assert await reading.task == DATA
    await case.idle()
    assert image.sent_bytes == SIZE + CHUNK


async def test_a_leftover_that_was_damaged_is_fetched_again(glance: Origin, tmp_path: Path) -> None:
    image = glance.add(DATA)
    hold = image.hold_at(3 * CHUNK + 1)
    async with started(glance, tmp_path / "cache") as case:
        reading = case.read(image, 0, 3 * CHUNK)
        assert await reading.task == DATA[: 3 * CHUNK]
        digest = (await case.admit(image)).manifest.digest(1)
        assert digest is not None
    hold.release.set()
    path = tmp_path / "cache" / "chunks" / digest.hex()[:2] / digest.hex()
    path.chmod(0o640)
    path.write_bytes(b"x" * CHUNK)
    async with started(glance, tmp_path / "cache") as case:
        reading = case.read(image)
        assert await reading.task == DATA
        assert reading.fetched == [False, True, False, True, True]
        await case.idle()


async def test_a_source_without_ranges_that_is_always_cut_is_given_up(case: Case) -> None:
    image = case.origin.add(DATA, ranges="refused")
    image.cuts += [2 * CHUNK + 77] * 100
    with pytest.raises(FillFailedError):
        await case.read(image).task
    await case.idle()
    # A try may land less than the one before it, so that the next one is progress.
    assert len(image.cuts) > 100 - 4 * ATTEMPTS_MAX


async def test_a_refill_from_a_source_without_ranges_reads_it_once(case: Case) -> None:
    image = case.origin.add(DATA, ranges="refused")
    assert await case.read(image).task == DATA
    await case.idle()
    content = await case.admit(image)
    await case.store.drop([content.manifest.digest(index) or b"" for index in (1, 3)])
    assert await case.read(image).task == DATA
    await case.idle()
    assert image.sent_bytes == 2 * SIZE


async def test_a_liar_of_another_size_takes_nothing_along(glance: Origin, tmp_path: Path) -> None:
    async with started(glance, tmp_path / "cache", trust=True) as case:
        honest = glance.add(DATA)
        claim = {key: honest.record[key] for key in ("os_hash_algo", "os_hash_value")}
        liar = glance.add(OTHER[:-1], record=claim)
        assert await case.read(honest).task == DATA
        await case.idle()
        with pytest.raises(ProofFailedError):
            await case.read(liar).task
        await case.idle()
        again = case.read(honest)
        assert await again.task == DATA
        assert not any(again.fetched)


LATER = {"created_at": "2026-02-01T00:00:00Z"}


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize(
    "hashes", [{}, {"os_hash_algo": None, "os_hash_value": None, "checksum": None}]
)
async def test_an_id_that_is_used_again_gives_nothing_of_the_former_image(
    glance: Origin, tmp_path: Path, half: bool, hashes: dict[str, Any]
) -> None:
    """Nor does it help to claim the hashes that the former image had."""
    async with started(glance, tmp_path / "cache", complete_in_background=not half) as case:
        former = glance.add(DATA, record=dict(hashes))
        stop = CHUNK if half else SIZE
        assert await case.read(former, 0, stop).task == DATA[:stop]
        await case.idle()
        record = {**former.record, **LATER, "id": former.id}
        again = glance.add(OTHER, record=record)
        again.id = former.id
        glance.images[former.id] = again
        reading = case.read(again, 0, CHUNK)
        assert await reading.task == OTHER[:CHUNK]
        assert reading.fetched == [True]
        await case.idle()
        if hashes:  # the size alone proves it
            assert await case.read(again).task == OTHER
        else:
            with pytest.raises(ProofFailedError):
                await case.read(again).task
        await case.idle()


async def test_a_fill_ends_when_its_image_is_replaced(case: Case) -> None:
    former = case.origin.add(DATA)
    hold = former.hold_at(2 * CHUNK)
    reading = case.read(former)
    await hold.reached.wait()
    again = case.origin.add(OTHER, record=LATER)
    again.id = former.id
    case.origin.images[former.id] = again
    assert await case.read(again).task == OTHER
    with pytest.raises(FillFailedError):
        await reading.task
    assert reading.data == DATA[: len(reading.fetched) * CHUNK]
    hold.release.set()
    await case.idle()
    assert case.flights.contents.describe(again.id) == facts_of(again)
