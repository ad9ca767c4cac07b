"""The file of pinned images on a disk: killed at every line, damaged, in a directory that fails."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from cacheproxy.errors import DiskFullError, ReadOnlyDiskError, StorageError
from cacheproxy.store import pinfile, pintext
from cacheproxy.store.files import ChunkFiles
from cacheproxy.store.pinfile import PinFile
from cacheproxy.store.pintext import pack
from harness.store_case import open_descriptors

BEFORE = {"one": 1, "two": 2}
AFTER = {"one": 1, "two": 2, "three": 3}
KINDS = {
    errno.ENOSPC: DiskFullError,
    errno.EDQUOT: DiskFullError,
    errno.EROFS: ReadOnlyDiskError,
    errno.EIO: StorageError,
}
LINES_MAX = 500
KILLED = 9


@pytest.fixture
def files(tmp_path: Path) -> Iterator[ChunkFiles]:
    before = open_descriptors()
    made = ChunkFiles.open(tmp_path)
    yield made
    made.close()
    assert open_descriptors() == before
    assert not list((tmp_path / "staging").iterdir())


def load(files: ChunkFiles) -> dict[str, int]:
    return PinFile(files).load(lambda: files.set_pins_aside(1 << 20))


def complain(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_what_was_written_is_read(files: ChunkFiles, tmp_path: Path) -> None:
    assert load(files) == {}
    file = PinFile(files)
    assert file.cost == 0
    for images in (BEFORE, AFTER, {}):
        file.replace(images, {})
        assert load(files) == images
        assert file.cost == (tmp_path / "pins").stat().st_blocks * 512
    assert (tmp_path / "pins").stat().st_mode & 0o777 == 0o640


def die_at(line: int) -> None:
    """Have this process end without a word before the n-th line of the module that it comes to."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != pinfile.__file__:
            return None
        if event == "line":
            left -= 1
            if not left:
                os._exit(KILLED)
        return trace

    sys.settrace(trace)


def test_killed_at_any_line_it_has_the_one_or_the_other(tmp_path: Path) -> None:
    files = ChunkFiles.open(tmp_path)
    PinFile(files).replace(BEFORE, {})
    files.close()
    found: list[dict[str, int]] = []
    swept = 0
    for line in range(1, LINES_MAX):
        if not (child := os.fork()):
            file = PinFile(ChunkFiles.open(tmp_path))
            die_at(line)
            file.replace(AFTER, BEFORE)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        swept += len(list((tmp_path / "staging").iterdir()))
        files = ChunkFiles.open(tmp_path)
        assert not list((tmp_path / "staging").iterdir())
        found.append(load(files))
        PinFile(files).replace(BEFORE, AFTER)
        files.close()
        if not status:
            break
        assert os.waitstatus_to_exitcode(status) == KILLED
    assert found[0] == BEFORE
    assert found[-1] == AFTER
    changes = sum(one != other for one, other in itertools.pairwise(found))
    assert changes == 1, "the name is given in one step"
    assert found[-2] == AFTER, "killed between the name and the answer"
    assert swept, "killed while the other file was there"


@pytest.mark.parametrize("call", ["open", "ftruncate", "write", "fsync", "rename"])
@pytest.mark.parametrize("number", KINDS)
def test_a_failure_changes_nothing(
    files: ChunkFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    file = PinFile(files)
    file.replace(BEFORE, {})
    cost = file.cost
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageError, match="writing the pins") as raised:
            file.replace(AFTER, BEFORE)
    assert type(raised.value) is KINDS[number]
    assert str(tmp_path) not in str(raised.value)
    assert (tmp_path / "pins").read_bytes() == pack(BEFORE)
    assert file.cost == cost
    assert not list((tmp_path / "staging").iterdir())


def test_it_is_synced_before_it_has_its_name_and_the_name_after(
    files: ChunkFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def sync(fd: int) -> None:
        fsync(fd)
        done.append(str(Path(f"/proc/self/fd/{fd}").readlink().parent))

    def name(*given: Any, **where: Any) -> None:
        rename(*given, **where)
        done.append("name")

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", name)
    PinFile(files).replace(AFTER, {})
    assert done == [str(tmp_path / "staging"), "name", str(tmp_path.parent)]


def test_a_name_that_may_not_last_is_taken_back(
    files: ChunkFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = PinFile(files)
    file.replace(BEFORE, {})
    real, synced = os.fsync, []

    def fsync(fd: int) -> None:
        synced.append(fd)
        if fd == files.top:
            complain()
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError):
        file.replace(AFTER, BEFORE)
    assert files.top in synced
    assert load(files) == BEFORE


def test_short_writes_are_continued(files: ChunkFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    PinFile(files).replace(AFTER, {})
    assert load(files) == AFTER


@pytest.mark.parametrize(
    "text", [b"", bytes(4096), b"theirs\n", pack(AFTER)[3:], pack(AFTER) + bytes(pintext.BYTES_MAX)]
)
def test_a_damaged_file_is_set_aside(
    files: ChunkFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    (tmp_path / "pins").write_bytes(text)
    file = PinFile(files)
    assert file.load(lambda: files.set_pins_aside(1 << 30)) == {}
    assert file.cost == 0
    assert "pin them again" in caplog.text
    assert not (tmp_path / "pins").exists()
    assert (tmp_path / "quarantine" / "pins.1").read_bytes() == text
    assert files.quarantined() == (tmp_path / "quarantine" / "pins.1").stat().st_blocks * 512
    file.replace(AFTER, {})
    assert load(files) == AFTER


def test_a_disk_that_cannot_read_it_is_no_reason_not_to_start(
    files: ChunkFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pins").write_bytes(pack(AFTER))
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", complain)
        assert load(files) == {}
    assert (tmp_path / "quarantine" / "pins.1").read_bytes() == pack(AFTER)


def test_a_file_that_cannot_be_set_aside_is_no_reason_not_to_start(
    files: ChunkFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pins").write_text("damaged")
    monkeypatch.setattr(Path, "rename", complain)
    assert load(files) == {}
    assert (tmp_path / "pins").read_text() == "damaged"


def test_too_few_descriptors_say_nothing_of_the_file(
    files: ChunkFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pins").write_bytes(pack(AFTER))

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(StorageError, match="reading the pins"):
            load(files)
    assert load(files) == AFTER


@pytest.mark.parametrize("kind", ["directory", "pipe", "link"])
def test_what_is_no_file_is_left_alone(
    files: ChunkFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = tmp_path / "pins"
    (tmp_path / "elsewhere").write_bytes(pack(AFTER))
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to(tmp_path / "elsewhere")
    assert load(files) == {}
    assert "stays where it is" in caplog.text
    assert not path.is_file() or path.is_symlink()
    assert not list((tmp_path / "quarantine").iterdir())


def test_damaged_lines_are_told_and_the_others_count(
    files: ChunkFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = {f"image-{number}": number for number in range(20)}
    damaged = {f"image-{number}" for number in range(5, 15)}
    text = pack(images)
    for name in damaged:
        text = text.replace(b" " + name.encode(), b" i" + name.encode())
    (tmp_path / "pins").write_bytes(text)
    with caplog.at_level(logging.ERROR):
        assert load(files).keys() == images.keys() - damaged
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == pinfile.BAD_TOLD_MAX + 1
    assert told[0] == "line 7 of the file of pinned images is damaged"
    assert told[-1] == "10 images are pinned, at least 10 more were: pin them again"
    assert (tmp_path / "pins").read_bytes() == text
