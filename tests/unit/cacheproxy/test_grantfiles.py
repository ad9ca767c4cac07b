"""Keys and renewals on a disk: for one user alone, whole or not at all, made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cacheproxy import grantfiles
from cacheproxy.errors import StorageError
from cacheproxy.grantfiles import GrantFiles

NOW = 1_000_000
DAY = 86_400
NAME = "a" * 64


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    directory = tmp_path / "made/here"
    files = GrantFiles(directory)
    assert files.keys().newest is None
    first = files.signing(NOW, DAY, 60)
    assert first.newest is not None
    assert first.newest.made == NOW
    assert GrantFiles(directory).keys() == first == files.signing(NOW + DAY - 1, DAY, 60)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "keys").stat().st_mode & 0o777 == 0o600
    assert names(directory) == {"keys", "keys.lock"}


def test_an_old_key_gets_a_successor_and_goes(tmp_path: Path) -> None:
    files = GrantFiles(tmp_path)
    (first,) = files.signing(NOW, DAY, 60).keys
    second = files.signing(NOW + DAY, DAY, 60)
    assert list(second.keys[1:]) == [first]
    assert second.newest is not None
    assert second.newest.secret != first.secret
    third = files.signing(NOW + 2 * DAY, DAY, 60)
    assert list(third.keys[1:]) == [second.newest]


def test_workers_that_begin_together_make_one_key(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from cacheproxy.grantfiles import GrantFiles;"
        f"print(GrantFiles(Path(sys.argv[1])).signing({NOW}, {DAY}, 60).newest.name)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "keys"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    told = {child.communicate(timeout=60)[0] for child in children}
    assert len(told) == 1
    assert told != {""}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    files = GrantFiles(tmp_path)
    files.signing(NOW, DAY, 60)
    (tmp_path / "keys").chmod(mode)
    for ask in (files.keys, lambda: files.signing(NOW, DAY, 60)):
        with pytest.raises(StorageError, match="chmod 600"):
            ask()


@pytest.mark.parametrize(
    "text", ["", "{", '{"version": 2, "keys": []}', '{"version":1,"keys":[{"name":1}]}', "short"]
)
def test_a_damaged_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    files = GrantFiles(tmp_path)
    files.signing(NOW, DAY, 60)
    if text == "short":
        document = json.loads((tmp_path / "keys").read_text())
        document["keys"][0]["secret"] = "c2hvcnQ="
        text = json.dumps(document)
    (tmp_path / "keys").write_text(text)
    with pytest.raises(StorageError, match="remove it") as told:
        files.keys()
    assert "c2hvcnQ" not in str(told.value)
    (tmp_path / "keys").unlink()
    assert files.signing(NOW, DAY, 60).newest is not None


@pytest.mark.parametrize("kind", ["directory", "pipe", "link"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    match kind:
        case "directory":
            (tmp_path / "keys").mkdir()
        case "pipe":
            os.mkfifo(tmp_path / "keys")
        case _:
            (tmp_path / "keys").symlink_to("/dev/zero")
    with pytest.raises(StorageError):
        GrantFiles(tmp_path).keys()


def test_a_writer_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "keys.new").write_text("half")
    files = GrantFiles(tmp_path)
    made = files.signing(NOW, DAY, 60)
    assert files.keys() == made
    assert names(tmp_path) == {"keys", "keys.lock"}


def test_a_write_that_fails_leaves_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = GrantFiles(tmp_path)
    before = files.signing(NOW, DAY, 60)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space"):
        files.signing(NOW + DAY, DAY, 60)
    with pytest.raises(StorageError, match="No space"):
        files.renew(NAME, NOW, NOW, DAY)
    assert files.keys() == before
    assert files.renewed(NAME) is None
    assert not list((tmp_path / "renewed").iterdir())


def test_a_renewal_never_ends_earlier_than_was_told(tmp_path: Path) -> None:
    files = GrantFiles(tmp_path)
    assert files.renewed(NAME) is None
    assert files.renew(NAME, NOW + 100, NOW, DAY) == NOW + 100
    assert files.renew(NAME, NOW + 50, NOW, DAY) == NOW + 100
    assert GrantFiles(tmp_path).renewed(NAME) == NOW + 100
    assert (tmp_path / "renewed" / NAME).stat().st_mode & 0o777 == 0o600


def test_renewals_that_are_long_over_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grantfiles, "RENEWED_MAX", 2)
    files = GrantFiles(tmp_path)
    for name in "ab":
        files.renew(name, NOW + 10, NOW, DAY)
    with pytest.raises(StorageError, match="2 signed URLs"):
        files.renew("c", NOW + 10, NOW, DAY)
    files.renew("a", NOW + 5 * DAY, NOW, DAY)  # one that is there needs no room
    (tmp_path / "renewed" / "b").write_text("damaged")
    files.renew("c", NOW + 10, NOW, DAY)
    files.renew("d", NOW + 10, NOW + 11 + DAY, DAY)
    assert names(tmp_path / "renewed") == {"a", "d"}
