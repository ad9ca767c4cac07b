"""The byte ledger: what is counted never exceeds the limit, and nothing reserved is forgotten."""

from __future__ import annotations

import pytest

from cacheproxy.core.ledger import BLOCK_BYTES, Ledger, allocated

MARGIN = 10 * BLOCK_BYTES
LIMIT = 110 * BLOCK_BYTES


def ledger() -> tuple[Ledger, list[int]]:
    changes: list[int] = []
    made = Ledger(LIMIT, MARGIN, lambda: changes.append(made.used))
    return made, changes


@pytest.mark.parametrize(
    ("size", "cost"), [(0, 0), (1, 4096), (4096, 4096), (4097, 8192), (1 << 20, 1 << 20)]
)
def test_sizes_are_rounded_up_to_blocks(size: int, cost: int) -> None:
    assert allocated(size) == cost


def test_a_reservation_is_counted_until_it_is_closed() -> None:
    book, changes = ledger()
    reservation = book.reserve(3 * BLOCK_BYTES - 1)
    assert (book.reserved, book.free) == (3 * BLOCK_BYTES, 97 * BLOCK_BYTES)
    reservation.close()
    reservation.close()
    assert (book.reserved, book.free) == (0, 100 * BLOCK_BYTES)
    assert len(changes) == 2


def test_a_written_file_turns_reserved_into_used_bytes() -> None:
    book, _ = ledger()
    reservation = book.reserve(8 * BLOCK_BYTES)
    claim = reservation.claim(2 * BLOCK_BYTES)
    assert claim is not None
    assert (book.reserved, book.claimed, reservation.remaining) == (
        8 * BLOCK_BYTES,
        2 * BLOCK_BYTES,
        6 * BLOCK_BYTES,
    )
    claim.settle(3 * BLOCK_BYTES)  # the file system took a block more than its bytes
    assert (book.chunks, book.reserved, book.claimed) == (3 * BLOCK_BYTES, 6 * BLOCK_BYTES, 0)
    reservation.close()
    assert (book.used, book.reserved) == (3 * BLOCK_BYTES, 0)


def test_an_unused_claim_goes_back_to_its_reservation() -> None:
    book, _ = ledger()
    reservation = book.reserve(4 * BLOCK_BYTES)
    claim = reservation.claim(4 * BLOCK_BYTES)
    assert claim is not None
    assert reservation.claim(1) is None
    claim.give_back()
    assert (reservation.remaining, book.reserved, book.claimed) == (
        4 * BLOCK_BYTES,
        4 * BLOCK_BYTES,
        0,
    )


def test_a_claim_may_end_after_its_reservation() -> None:
    book, _ = ledger()
    reservation = book.reserve(4 * BLOCK_BYTES)
    kept, lost = reservation.claim(BLOCK_BYTES), reservation.claim(BLOCK_BYTES)
    assert kept is not None
    assert lost is not None
    reservation.close()
    assert book.reserved == 2 * BLOCK_BYTES
    kept.settle(BLOCK_BYTES)
    lost.give_back()
    assert (book.reserved, book.claimed, book.chunks) == (0, 0, BLOCK_BYTES)


def test_a_claim_ends_once() -> None:
    book, _ = ledger()
    claim = book.reserve(BLOCK_BYTES).claim(1)
    assert claim is not None
    claim.settle(BLOCK_BYTES)
    with pytest.raises(AssertionError):
        claim.give_back()


def test_the_margin_is_never_given_away() -> None:
    book, _ = ledger()
    assert book.fits(100 * BLOCK_BYTES)
    assert not book.fits(100 * BLOCK_BYTES + 1)
    with pytest.raises(AssertionError):
        book.reserve(101 * BLOCK_BYTES)
    assert book.reserved == 0


def test_what_fits_after_eviction_and_what_never_does() -> None:
    book, _ = ledger()
    book.adjust(chunks=90 * BLOCK_BYTES, quarantine=2 * BLOCK_BYTES, overhead=3 * BLOCK_BYTES)
    assert book.ever_fits(95 * BLOCK_BYTES)
    assert not book.fits(95 * BLOCK_BYTES)
    assert not book.ever_fits(95 * BLOCK_BYTES + 1)


def test_free_is_negative_when_a_limit_was_lowered() -> None:
    book, _ = ledger()
    book.adjust(chunks=104 * BLOCK_BYTES)
    assert book.free == -4 * BLOCK_BYTES
    assert not book.fits(0)


def test_what_may_exist_after_a_crash_counts() -> None:
    book, _ = ledger()
    book.adjust(chunks=10, quarantine=20, unknown=30, overhead=40)
    assert (book.files, book.used) == (60, 100)


def test_what_may_exist_is_no_reason_to_evict() -> None:
    book, _ = ledger()
    book.adjust(chunks=99 * BLOCK_BYTES, unknown=BLOCK_BYTES, overhead=2 * BLOCK_BYTES)
    assert (book.free, book.excess) == (-2 * BLOCK_BYTES, BLOCK_BYTES)
    book.adjust(chunks=-2 * BLOCK_BYTES)
    assert (book.free, book.excess) == (0, 0)


def test_counts_never_become_negative() -> None:
    book, _ = ledger()
    with pytest.raises(AssertionError):
        book.adjust(chunks=-1)


def test_a_claim_has_to_be_covered_by_the_durable_promise() -> None:
    book, _ = ledger()
    book.adjust(chunks=5 * BLOCK_BYTES)
    book.promise(7 * BLOCK_BYTES)
    reservation = book.reserve(10 * BLOCK_BYTES)
    assert book.covered, "reserved bytes have no files yet"
    assert reservation.claim(2 * BLOCK_BYTES) is not None
    assert book.covered
    more = reservation.claim(1)
    assert more is not None
    assert not book.covered
    more.give_back()
    assert book.covered
