"""Figures as people read them."""

from __future__ import annotations

import pytest

from cacheproxy.cli import figures


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (1 << 20, "1.0 MiB"),
        (10 << 30, "10.0 GiB"),
        (1.5 * (1 << 40), "1.5 TiB"),
        (1 << 62, "4.0 EiB"),
        (1 << 72, "4096.0 EiB"),
    ],
)
def test_sizes(count: float, shown: str) -> None:
    assert figures.size(count) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 10, "0 %"),
        (1, 1_000_000, "0.1 %"),
        (712, 1000, "71.2 %"),
        (999_999, 1_000_000, "99.9 %"),
        (10, 10, "100 %"),
        (0, 0, "100 %"),
    ],
)
def test_a_share_is_all_or_nothing_only_if_it_is(part: float, whole: float, shown: str) -> None:
    assert figures.share(part, whole) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90_000, "1 d 1 h"),
        (1e9, "11,574 d 1 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert figures.duration(seconds) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 10, "[----]"),
        (5, 10, "[##--]"),
        (99, 100, "[###-]"),
        (10, 10, "[####]"),
        (11, 10, "[####]"),
        (0, 0, "[####]"),
    ],
)
def test_a_bar_is_full_only_if_it_is_all(part: float, whole: float, shown: str) -> None:
    assert figures.bar(part, whole, 4) == shown


def test_pictures_and_counts() -> None:
    assert figures.picture([1, 0.5, 0, 1]) == "#+.#"
    assert figures.chunks(1) == "1 chunk"
    assert figures.chunks(2000, 2 << 20) == "2,000 chunks (2.0 MiB)"


def test_columns_are_aligned() -> None:
    assert figures.table(("A", "LONG"), [("xx", "1"), ("y", "22")], right=" r") == (
        "A   LONG\nxx     1\ny     22"
    )
    assert figures.titled({"a": ["1", "2"], "bcd": ["3"], "left out": []}) == (
        "a         1\n          2\nbcd       3"
    )
