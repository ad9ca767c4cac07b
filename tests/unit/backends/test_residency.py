"""Looking at the page cache: both ways say the same, and have nothing read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import residency
from harness.damage import make_cold, make_warm

PAGE = 4096
SIZE = 8 * PAGE + 100

Look = Callable[[int, int, int], bool]

WAYS = [residency.by_mincore]
if residency._has_cachestat():
    WAYS.append(residency.by_cachestat)


@pytest.mark.parametrize("look", WAYS)
def test_what_is_in_memory(tmp_path: Path, look: Look) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert look(fd, 0, SIZE)
        make_cold(path)
        make_warm(path, 0, 4 * PAGE)
        make_warm(path, 5 * PAGE, SIZE)
        for position, size, there in (
            (0, SIZE, False),
            (0, 4 * PAGE, True),
            (4 * PAGE - 1, 1, True),
            (4 * PAGE - 1, 2, False),
            (4 * PAGE + 7, 9, False),
            (5 * PAGE, 3 * PAGE + 100, True),
        ):
            assert look(fd, position, size) == there, (position, size)
        make_cold(path)
        for _ in range(3):
            assert not look(fd, 0, PAGE)
        os.pread(fd, 1, 0)
        assert look(fd, 0, 1)
    finally:
        os.close(fd)


def test_nothing_is_believed_of_what_cannot_be_asked() -> None:
    reader, writer = os.pipe()
    try:
        assert not any(look(reader, 0, PAGE) for look in WAYS)
    finally:
        os.close(reader)
        os.close(writer)
