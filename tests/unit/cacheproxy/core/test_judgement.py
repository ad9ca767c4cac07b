"""What an answer to "may I download this?" means."""

from __future__ import annotations

import pytest

from cacheproxy.core.judgement import Verdict, Word, judge_range, judge_right
from cacheproxy.headers import Headers

GLANCES = [("X-OpenStack-Request-ID", "req-1"), ("Content-Type", "text/html")]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (416, Verdict.ALLOWED),
        (200, Verdict.ALLOWED_ONCE),
        *((status, Verdict.REFUSED) for status in (401, 403, 404)),
        *((status, Verdict.SILENT) for status in (None, 500, 502, 503, 504, 599)),
        *((status, Verdict.UNCLEAR) for status in (204, 206, 300, 304, 400, 405, 410, 429)),
    ],
)
def test_a_range(status: int | None, verdict: Verdict) -> None:
    word = None if status is None else Word(status, GLANCES)
    assert judge_range(word) is verdict


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Content-Type", "text/html")],
        [*GLANCES, ("content-range", "bytes */123")],
        [*GLANCES, ("AGE", "0")],
    ],
)
def test_a_yes_of_somebody_in_between(fields: Headers) -> None:
    assert judge_range(Word(416, fields)) is Verdict.FOREIGN
    assert judge_range(Word(403, fields)) is Verdict.REFUSED


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (204, Verdict.ALLOWED),
        *((status, Verdict.REFUSED) for status in (401, 403)),
        *((status, Verdict.SILENT) for status in (None, 500, 503)),
        *((status, Verdict.UNCLEAR) for status in (200, 404, 405, 410, 416)),
    ],
)
def test_the_right(status: int | None, verdict: Verdict) -> None:
    word = None if status is None else Word(status, [])
    assert judge_right(word) is verdict
