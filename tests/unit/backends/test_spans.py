from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backends.spans import (
    END,
    ContentRange,
    MultipleRangesError,
    RangeNotSatisfiableError,
    Span,
    parse_content_range,
    parse_range,
    parse_unsatisfied_range,
)

POSITIONS = st.integers(0, 40)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start, stop = sorted((draw(POSITIONS), draw(POSITIONS)))
    return Span(start, stop)


def positions(span: Span) -> set[int]:
    """Return the naive model of a span: the set of its positions."""
    return set(range(span.start, span.stop))


class TestSpan:
    @given(spans(), POSITIONS)
    def test_is_a_set_of_positions(self, span: Span, position: int) -> None:
        assert len(span) == len(positions(span))
        assert (position in span) == (position in positions(span))

    @given(spans(), spans())
    def test_clip(self, span: Span, other: Span) -> None:
        clipped = span.clip(other)
        assert positions(clipped) == positions(span) & positions(other)
        assert other.start <= clipped.start <= clipped.stop <= other.stop

    @given(POSITIONS, POSITIONS)
    def test_since(self, start: int, size: int) -> None:
        everything = bytes(range(size))
        clipped = Span.since(start).clip(Span(0, size))
        assert everything[clipped.start : clipped.stop] == everything[start:]

    @pytest.mark.parametrize(("start", "stop"), [(-1, 0), (1, 0), (-2, -1), (0, END + 1)])
    def test_what_is_none(self, start: int, stop: int) -> None:
        with pytest.raises(ValueError, match="not a span"):
            Span(start, stop)

    def test_the_longest(self) -> None:
        assert len(Span.since(0)) == END

    def test_the_header_of_nothing(self) -> None:
        with pytest.raises(ValueError, match="empty"):
            _ = Span(3, 3).range_header


class TestRangeHeader:
    @given(spans(), st.integers(1, 60))
    def test_of_a_span_is_read_as_that_span(self, span: Span, size: int) -> None:
        assume(len(span) and span.start < size)
        assert parse_range(span.range_header, size) == span.clip(Span(0, size))

    @given(st.integers(0, 59), st.integers(1, 60))
    def test_of_an_open_span(self, start: int, size: int) -> None:
        assume(start < size)
        assert Span.since(start).range_header == f"bytes={start}-"
        assert parse_range(f"bytes={start}-", size) == Span(start, size)

    @given(first=st.none() | POSITIONS, last=st.none() | POSITIONS, size=POSITIONS)
    def test_like_the_naive_model(self, first: int | None, last: int | None, size: int) -> None:
        header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
        everything = list(range(size))
        if first is not None:
            expected = everything[first:] if last is None else everything[first : last + 1]
        else:
            expected = everything[-last:] if last else []
        if expected:
            assert sorted(positions(parse_range(header, size))) == expected
        else:
            with pytest.raises(RangeNotSatisfiableError):
                parse_range(header, size)

    @pytest.mark.parametrize(
        ("header", "span"),
        [
            ("bytes=0-0", Span(0, 1)),
            ("BYTES = 2 - 4", Span(2, 5)),
            ("bytes=0002-0004", Span(2, 5)),
            ("bytes=0-99999999999999999999999999", Span(0, 10)),
            ("bytes=-99999999999999999999999999", Span(0, 10)),
            ("bytes=-3", Span(7, 10)),
        ],
    )
    def test_spellings(self, header: str, span: Span) -> None:
        assert parse_range(header, 10) == span

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=-0",
            "bytes=10-",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1-2;",
            "bytes=--1",
            "bytes=1",
            "bits=1-2",
            "bytes=\u0663-\u0664",
            "bytes=9223372036854775807-",
            f"bytes=0-{'9' * 31}",
            f"bytes={'9' * 5000}-",
        ],
    )
    def test_what_is_not_satisfiable(self, header: str) -> None:
        with pytest.raises(RangeNotSatisfiableError):
            parse_range(header, 10)

    @pytest.mark.parametrize("header", ["bytes=0-1,3-4", "bytes=0-1,", ","])
    def test_several(self, header: str) -> None:
        with pytest.raises(MultipleRangesError):
            parse_range(header, 10)

    @given(st.text(max_size=30), POSITIONS)
    def test_any_text_is_a_span_or_an_error(self, text: str, size: int) -> None:
        for header in (text, f"bytes={text}"):
            try:
                span = parse_range(header, size)
            except (RangeNotSatisfiableError, MultipleRangesError):
                continue
            assert len(span)
            assert span.stop <= size


class TestContentRange:
    @given(spans(), st.integers(0, 60))
    def test_what_is_said_is_read(self, span: Span, more: int) -> None:
        assume(len(span))
        size = span.stop + more
        assert parse_content_range(span.content_range(size)) == ContentRange(span, size)
        assert parse_content_range(f" bytes {span.start}-{span.stop - 1}/* ") == ContentRange(
            span, None
        )

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "bytes",
            "bytes 0-4",
            "bytes 0-4/",
            "bytes 0-4/4",
            "bytes 4-3/10",
            "bytes 4-0/10",
            "bytes */10",
            "bytes */*",
            "bytes -4/10",
            "bytes 0-/10",
            "bytes=0-4/10",
            "items 0-4/10",
            "bytes 0-4/10, bytes 5-6/10",
            "bytes \u0660-\u0664/10",
            f"bytes 0-{'9' * 19}/*",
        ],
    )
    def test_what_makes_no_sense(self, header: str) -> None:
        with pytest.raises(ValueError, match="Content-Range"):
            parse_content_range(header)

    @given(st.text(max_size=30))
    def test_any_text_is_a_span_or_an_error(self, text: str) -> None:
        for parse in (parse_content_range, parse_unsatisfied_range):
            for header in (text, f"bytes {text}"):
                try:
                    parse(header)
                except ValueError:
                    continue

    @given(st.integers(0, 10**18 - 1))
    def test_unsatisfied(self, size: int) -> None:
        assert parse_unsatisfied_range(f"bytes */{size}") == size

    @pytest.mark.parametrize("header", ["", "bytes */*", "bytes 0-1/2", "*/2", "bytes */-2"])
    def test_not_unsatisfied(self, header: str) -> None:
        with pytest.raises(ValueError, match="416"):
            parse_unsatisfied_range(header)
