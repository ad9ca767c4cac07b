"""Bytes that are on their way to the disk before anybody syncs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.file import newfile
from backends.file.newfile import WRITEBACK_BYTES, NewFile
from backends.writeback import begin_writeback


def test_what_was_begun_is_whole_and_each_byte_is_given_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []

    def noting(fd: int, position: int, size: int) -> None:
        begun.append((position, size))
        begin_writeback(fd, position, size)

    monkeypatch.setattr(newfile, "begin_writeback", noting)
    data = bytes(range(256)) * (WRITEBACK_BYTES // 512)  # half of it
    file = NewFile(tmp_path, "image", permissions=None, sync_bytes=1 << 40)
    file.open()
    for _ in range(5):
        file.write(memoryview(data))
    file.publish(5 * len(data))
    file.keep()
    file.close()
    assert begun == [(0, 2 * len(data)), (2 * len(data), 2 * len(data))]
    assert (tmp_path / "image").read_bytes() == 5 * data


def test_what_cannot_be_written_back_is_no_error() -> None:
    begin_writeback(-1, 0, 1)
