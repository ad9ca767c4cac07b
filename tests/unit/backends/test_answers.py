"""What a status means, wherever HTTP is spoken."""

from __future__ import annotations

import pytest

from backends.answers import kind_of
from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    ThrottledError,
    UnavailableError,
    UnsupportedError,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, InvalidError),
        (400, InvalidError),
        (401, DeniedError),
        (404, MissingError),
        (405, UnsupportedError),
        (408, UnavailableError),
        (409, InvalidError),
        (413, NoSpaceError),
        (429, ThrottledError),
        (500, UnavailableError),
        (501, UnsupportedError),
        (503, UnavailableError),
        (507, NoSpaceError),
        (599, UnavailableError),
    ],
)
def test_what_a_status_means(status: int, kind: type[StoreError]) -> None:
    assert kind_of(status) is kind


def test_one_kind_of_server_means_something_of_its_own() -> None:
    own: dict[int, type[StoreError]] = {409: DuplicateError, 404: InvalidError}
    assert [kind_of(status, own) for status in (409, 404, 403)] == [
        DuplicateError,
        InvalidError,
        DeniedError,
    ]
