"""Whose directory it is: ours in this version, or refused with a line that says what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cacheproxy.errors import ConfigError, DiskFullError, StorageError
from cacheproxy.store.tree import Tree

MARKER = "cacheproxy.store"
FOLDERS = ("chunks", "quarantine", "index", "staging")


def test_a_new_tree_is_complete_and_told_from_an_old_one(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there" / "yet"
    tree = Tree.take(directory)
    assert tree.fresh
    tree.release()
    assert (directory / MARKER).read_text() == "cacheproxy chunk store 1\n"
    assert {path.name for path in directory.iterdir()} == {MARKER, *FOLDERS}
    again = Tree.take(directory)
    assert not again.fresh
    again.release()


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    tree = Tree.take(tmp_path)
    try:
        with pytest.raises(ConfigError, match="in use by another cacheproxy"):
            Tree.take(tmp_path)
    finally:
        tree.release()
    Tree.take(tmp_path).release()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cacheproxy chunk store 2\n", "is of version 2, this program knows 1"),
        ("something else", "is not of cacheproxy"),
        ("cacheproxy chunk store one\n", "is not of cacheproxy"),
    ],
)
def test_another_version_is_refused_and_not_touched(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / MARKER).write_text(text)
    with pytest.raises(ConfigError, match=told):
        Tree.take(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]
    assert (tmp_path / MARKER).read_text() == text


@pytest.mark.parametrize("name", FOLDERS)
def test_somebody_elses_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "file").write_text("theirs")
    with pytest.raises(ConfigError, match=f"holds '{name}', which is not of cacheproxy"):
        Tree.take(tmp_path)
    assert (tmp_path / name / "file").read_text() == "theirs"


def test_somebody_elses_file_of_pins_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("theirs")
    with pytest.raises(ConfigError, match="holds 'pins', which is not of cacheproxy"):
        Tree.take(tmp_path)
    assert (tmp_path / "pins").read_text() == "theirs"


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="make it writable for this user, or name another"):
        Tree.take(tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, ConfigError),
        (errno.EROFS, ConfigError),
        (errno.ENOTDIR, ConfigError),
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EIO, StorageError),
        (errno.EMFILE, StorageError),
    ],
)
def test_what_a_disk_may_mend_by_itself_is_no_fault_of_the_configuration(
    tmp_path: Path, number: int, kind: type[Exception]
) -> None:
    told = Tree.translated(tmp_path, OSError(number, os.strerror(number)))
    assert type(told) is kind
    assert str(tmp_path) in str(told)


def test_only_our_own_leftovers_are_swept(tmp_path: Path) -> None:
    Tree.take(tmp_path).release()
    ours = tmp_path / "staging" / f"{'0f' * 16}.part"
    theirs = [tmp_path / "staging" / "notes.part", tmp_path / "image", tmp_path / "chunks" / "x"]
    for path in (ours, *theirs):
        path.write_text("x")
    Tree.take(tmp_path).release()
    assert not ours.exists()
    assert all(path.exists() for path in theirs)
