"""Ranges, `If-Range` and `If-None-Match` of a download."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from backends.spans import MultipleRangesError, RangeNotSatisfiableError, Span
from registry.web.conditions import is_unchanged, wanted_span

ETAG = '"i"'


def headers(**given: str) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in given.items()})


@pytest.mark.parametrize(
    ("given", "span"),
    [
        (headers(), None),
        (headers(Range="bytes=2-4"), Span(2, 5)),
        (headers(Range="bytes=2-"), Span(2, 10)),
        (headers(Range="bytes=-3"), Span(7, 10)),
        (headers(Range="bytes=2-4", If_Range=ETAG), Span(2, 5)),
        (headers(Range="bytes=2-4", If_Range='"other"'), None),
        (headers(Range="bytes=2-4", If_Range=f"W/{ETAG}"), None),
        (headers(Range="bytes=2-4", If_Range="Thu, 01 Jan 2026 00:00:00 GMT"), None),
        (headers(Range="rubbish", If_Range='"other"'), None),
        (headers(Content_Range="bytes 2-4/10"), Span(2, 5)),
        (headers(Content_Range="bytes 2-4/*"), Span(2, 5)),
        (headers(Content_Range="bytes 2-40/50"), Span(2, 10)),
        (headers(Range="bytes=0-0", Content_Range="bytes 2-4/10"), Span(0, 1)),
    ],
    ids=str,
)
def test_the_wanted_span(given: CIMultiDict[str], span: Span | None) -> None:
    assert wanted_span(given, ETAG, 10) == span


@pytest.mark.parametrize(
    "given",
    [
        headers(Range="bytes=10-"),
        headers(Range="rubbish"),
        headers(Range="bytes=4-2"),
        headers(Content_Range="bytes 10-11/12"),
        headers(Content_Range="bytes 2-10/*"),
        headers(Content_Range="rubbish"),
    ],
    ids=str,
)
def test_not_satisfiable(given: CIMultiDict[str]) -> None:
    with pytest.raises(RangeNotSatisfiableError):
        wanted_span(given, ETAG, 10)


def test_several_ranges() -> None:
    with pytest.raises(MultipleRangesError):
        wanted_span(headers(Range="bytes=0-1,3-4"), ETAG, 10)


@pytest.mark.parametrize(
    ("given", "unchanged"),
    [
        (headers(), False),
        (headers(If_None_Match=ETAG), True),
        (headers(If_None_Match=f'"other", W/{ETAG}'), True),
        (headers(If_None_Match="*"), True),
        (headers(If_None_Match='"other"'), False),
        (headers(If_None_Match="i"), False),
    ],
    ids=str,
)
def test_unchanged(given: CIMultiDict[str], *, unchanged: bool) -> None:
    assert is_unchanged(given, ETAG) is unchanged
