"""The file stores' directories before the catalog serves: one that is broken stops no other store."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from backends.configuration import StoreSettings, StoresSettings
from backends.options import DataDirectory, FilesystemOptions, HttpOptions
from registry import directories
from registry.directories import prepare_directories
from registry.errors import ConfigError


def stores(*paths: Path, several: bool = True) -> StoresSettings:
    files = tuple(
        StoreSettings(f"s{number}", "file", FilesystemOptions((DataDirectory(path),)))
        for number, path in enumerate(paths)
    )
    return StoresSettings((*files, StoreSettings("web", "http", HttpOptions())), "s0", several)


async def test_missing_ones_are_made(tmp_path: Path) -> None:
    await prepare_directories(stores(tmp_path / "a/b", tmp_path / "c"))
    assert (tmp_path / "a/b").is_dir()
    assert list((tmp_path / "c").iterdir()) == []


async def test_a_broken_one_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").touch()
    await prepare_directories(stores(tmp_path / "a", tmp_path / "b"))
    (told,) = caplog.messages
    assert "the store s0 cannot take data: [s0] filesystem_store_datadir" in told


@pytest.mark.parametrize(("several", "section"), [(True, "s0"), (False, "glance_store")])
async def test_if_none_takes_data_nothing_starts(
    tmp_path: Path, *, several: bool, section: str
) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ConfigError, match=rf"\[{section}\] filesystem_store_datadir"):
        await prepare_directories(stores(tmp_path / "a", several=several))


async def test_one_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    require = directories.require_directory

    def hang(path: Path, option: str, *, create: bool) -> None:
        if path.name == "nfs":
            answers.wait()
        require(path, option, create=create)

    monkeypatch.setattr(directories, "require_directory", hang)
    monkeypatch.setattr(directories, "DIRECTORY_SECONDS", 0.05)
    try:
        await prepare_directories(stores(tmp_path / "nfs", tmp_path / "b"))
    finally:
        answers.set()
    assert "the file system does not answer" in caplog.text
    assert (tmp_path / "b").is_dir()
