from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import InvalidError
from backends.s3.options import MIB, S3Options
from backends.s3.parts import EQUAL_PARTS, PARTS_MAX, PartPlan

TIB = 1 << 40


def plan(size: int | None = None, **options: int) -> PartPlan:
    return PartPlan(S3Options("host", "bucket", "access", "secret", **options), size)  # type: ignore[arg-type]  # only numbers


def number_of_parts(plan: PartPlan, size: int) -> int:
    for number in count(1):
        size -= plan.part_bytes(number)
        if size <= 0:
            return number
    raise AssertionError


def test_an_object_below_the_limit_goes_in_one_request() -> None:
    assert plan(50 * MIB, large_object_bytes=100 * MIB).part_bytes(1) == 50 * MIB
    assert plan(0).part_bytes(1) == 1
    assert plan(50 * MIB, large_object_bytes=50 * MIB).part_bytes(1) == 10 * MIB


def test_but_only_if_a_write_may_hold_it() -> None:
    assert plan(80 * MIB, large_object_bytes=100 * MIB).part_bytes(1) == 10 * MIB


def test_parts_are_never_more_than_half_of_what_a_write_may_hold() -> None:
    assert plan(None, part_bytes=1024 * MIB).part_bytes(1) == 25 * MIB
    assert plan(TIB // 8, part_bytes=1024 * MIB).part_bytes(1) == 25 * MIB


def test_unless_there_would_be_too_many() -> None:
    huge = plan(5 * TIB)
    assert number_of_parts(huge, 5 * TIB) == PARTS_MAX


@given(st.integers(0, 50 * TIB), st.integers(5 * MIB, 1024 * MIB))
def test_a_known_size_always_fits(size: int, part_bytes: int) -> None:
    assert plan(size, part_bytes=part_bytes).part_bytes(1) * PARTS_MAX >= size


def test_an_unknown_size_has_equal_parts_and_then_longer_ones() -> None:
    unknown = plan(None)
    lengths = [unknown.part_bytes(number) for number in range(1, PARTS_MAX + 1)]
    assert set(lengths[:EQUAL_PARTS]) == {10 * MIB}
    assert lengths == sorted(lengths)
    assert lengths[EQUAL_PARTS] == 20 * MIB
    assert sum(lengths) > 5 * TIB
    with pytest.raises(InvalidError):
        unknown.part_bytes(PARTS_MAX + 1)


def test_the_memory_of_a_write_is_bounded() -> None:
    unknown = plan(None, buffer_bytes=64 * MIB, parts_at_once=3)
    part = unknown.part_bytes(1)
    assert unknown.may_begin(2, 2, 2 * part)
    assert not unknown.may_begin(2, 3, 3 * part)
    unknown = plan(None, buffer_bytes=64 * MIB, parts_at_once=100)
    sent = 0
    while unknown.may_begin(1, sent, sent * part):
        sent += 1
    assert (sent + 1) * part <= 64 * MIB < (sent + 2) * part


def test_a_part_that_is_alone_may_always_begin() -> None:
    assert plan(50 * TIB).may_begin(1, 0, 0)
