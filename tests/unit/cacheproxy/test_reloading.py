"""What a SIGHUP may change, and what it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from cacheproxy.errors import ConfigError
from cacheproxy.options import load
from cacheproxy.reloading import LIVE, reread
from cacheproxy.sections import SECTIONS

BEFORE = """
[upstream]
url = http://glance.example:9292
[cache]
image_cache_size = 10G
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cacheproxy.conf"
    path.write_text(BEFORE)
    return path


def test_what_may_change_changes_and_the_rest_is_named(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    current = load([file])
    file.write_text(
        "[DEFAULT]\nworkers = 3\n"
        + BEFORE.replace("10G", "5G").replace("glance.", "other.")
        + "project_share = 40\nchunk_bytes = 4MiB\n[metrics]\nbind_port = 1234\n"
    )
    now = reread([file], current)
    assert (now.cache.limit_bytes, now.cache.project_share) == (5 << 30, 40)
    assert now.cache.chunk_bytes == current.cache.chunk_bytes
    assert (now.workers, now.upstream, now.metrics) == (
        current.workers,
        current.upstream,
        current.metrics,
    )
    named = [record.getMessage().partition(" has changed")[0] for record in caplog.records]
    assert named == [
        "[DEFAULT] workers",
        "[upstream] url",
        "[cache] chunk_bytes",
        "[metrics] bind_port",
    ]


def test_an_option_that_is_gone_from_the_file_has_its_default_again(file: Path) -> None:
    current = load([file])
    assert reread([file], current) == current
    file.write_text(BEFORE.replace("10G", "7G"))
    changed = reread([file], current)
    assert changed.cache.limit_bytes == 7 << 30
    file.write_text(BEFORE.replace("image_cache_size = 10G\n", ""))
    assert reread([file], changed).cache.limit_bytes == 10 << 30


def test_a_bad_file_is_an_error(file: Path) -> None:
    current = load([file])
    file.write_text(BEFORE + "image_cache_sice = 1G\n")
    with pytest.raises(ConfigError, match="did you mean image_cache_size"):
        reread([file], current)
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        reread([file], current)


def test_what_may_change_are_options() -> None:
    known = {(section.name, option.name) for section in SECTIONS for option in section.options}
    assert known >= LIVE
