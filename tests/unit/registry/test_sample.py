"""The sample configuration of the catalog is the program's own, and explains everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.config import load_settings
from registry.sample import main, sample

SAMPLE = Path(__file__).parents[3] / "docs/registry.conf.sample"


def test_the_file_is_the_generated_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert SAMPLE.read_text() == sample(), (
        "run: python -m registry.sample > docs/registry.conf.sample"
    )
    main()
    assert capsys.readouterr().out == sample()


def test_it_sets_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty.conf"
    empty.touch()
    assert load_settings([SAMPLE]) == load_settings([empty])


def test_what_it_shows_are_the_defaults(tmp_path: Path) -> None:
    """Take the comment signs away: nothing changes."""
    lines = [
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in sample().splitlines()
        if not line.endswith("=")
    ]
    file, empty = tmp_path / "all.conf", tmp_path / "empty.conf"
    file.write_text("\n".join(lines))
    empty.touch()
    assert load_settings([file]) == load_settings([empty])
