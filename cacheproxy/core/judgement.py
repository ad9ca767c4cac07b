"""What an upstream's answer to "may I download this?" means.  Pure.

Two questions are known.  The *range* question asks any Glance for a part of the image's data that
no image has: it is answered 416 after all checks of token, visibility, status and policy, and
before a store is touched.  The *right* question is our own catalog's: 204, or the refusal that a
download would get.  What was measured of them is in docs/authorisation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

ALLOWED_BY_RANGE = 416
ALLOWED_WITHOUT_RANGES = 200  # an old Glance ignores ranges and begins to send
ALLOWED_BY_RIGHT = 204
UNKNOWN = 404  # the image to this caller, or the question
REFUSALS = (401, 403, UNKNOWN)
LOWEST_FAILURE = 500

REQUEST_ID = "x-openstack-request-id"  # every answer of a Glance carries one
# Glance's own 416 has neither; whoever answers ranges from its memory sends one or both.
MARKS_OF_CACHES = frozenset({"content-range", "age"})


@dataclass(frozen=True, slots=True)
class Word:
    """The head of an answer."""

    status: int
    headers: Sequence[tuple[str, str]]


class Verdict(Enum):
    """What a caller's question came to."""

    ALLOWED = auto()  # to be believed for a while
    ALLOWED_ONCE = auto()  # holds for who asked just now
    REFUSED = auto()
    SILENT = auto()  # nobody judged: no answer, or a server's failure
    UNCLEAR = auto()  # neither yes nor no
    FOREIGN = auto()  # a yes, but of somebody between the upstream and us


def judge_range(word: Word | None) -> Verdict:
    """Judge the answer to the range question.

    500 is also what Glance answers for an image without a size, to those who may download it; that
    cannot be told from a failure, and such an image is never served from the cache.
    """
    if word is not None and word.status == ALLOWED_BY_RANGE:
        names = {name.lower() for name, _ in word.headers}
        own = REQUEST_ID in names and names.isdisjoint(MARKS_OF_CACHES)
        return Verdict.ALLOWED if own else Verdict.FOREIGN
    if word is not None and word.status == ALLOWED_WITHOUT_RANGES:
        return Verdict.ALLOWED_ONCE
    return _no(word)


def judge_right(word: Word | None) -> Verdict:
    """Judge the answer to our catalog's own question; others answer 404, whatever the image."""
    if word is not None and word.status == ALLOWED_BY_RIGHT:
        return Verdict.ALLOWED
    return Verdict.UNCLEAR if word is not None and word.status == UNKNOWN else _no(word)


def _no(word: Word | None) -> Verdict:
    if word is None or word.status >= LOWEST_FAILURE:
        return Verdict.SILENT
    return Verdict.REFUSED if word.status in REFUSALS else Verdict.UNCLEAR
