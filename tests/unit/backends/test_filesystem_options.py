from __future__ import annotations

import json
from pathlib import Path

import pytest

from backends.file.options import filesystem_options
from backends.options import MIB, DataDirectory, FilesystemOptions

DATADIR = {"filesystem_store_datadir": "/images/"}


def test_defaults() -> None:
    assert filesystem_options({}) == FilesystemOptions(
        (DataDirectory(Path("/var/lib/glance/images")),)
    )
    assert filesystem_options({"rbd_store_pool": "x"}) == filesystem_options({})


def test_all_of_it(tmp_path: Path) -> None:
    metadata = tmp_path / "metadata.json"
    metadata.write_text(json.dumps({"id": "share", "mountpoint": "/images", "type": "nfs"}))
    options = filesystem_options(
        {
            **DATADIR,
            "filesystem_store_file_perm": "640",
            "filesystem_store_metadata_file": str(metadata),
            "filesystem_store_chunk_size": "4194304",
            "filesystem_thin_provisioning": "True",
            "filesystem_store_timeout": "30",
            "filesystem_store_thread_pool_size": "3",
            "filesystem_store_threadpool_threshold": "75",
        }
    )
    assert options == FilesystemOptions(
        (DataDirectory(Path("/images")),),
        permissions=0o640,
        metadata=({"id": "share", "mountpoint": "/images", "type": "nfs"},),
        thin=True,
        piece_bytes=4 * MIB,
        threads=3,
        hang_seconds=30.0,
    )


def test_several_directories() -> None:
    lines = "/fast:200\n/slow : -1\n/odd:name:7\n/plain\n/plain:0\n/colon:\n"
    assert filesystem_options({"filesystem_store_datadirs": lines}).directories == (
        DataDirectory(Path("/fast"), 200),
        DataDirectory(Path("/slow"), -1),
        DataDirectory(Path("/odd:name"), 7),
        DataDirectory(Path("/plain"), 0),
        DataDirectory(Path("/colon"), 0),
    )


@pytest.mark.parametrize(
    ("text", "mode"),
    [("0", None), ("-1", None), ("600", 0o600), ("0644", 0o644), ("2750", 0o2750)],
)
def test_permissions(text: str, mode: int | None) -> None:
    assert filesystem_options({"filesystem_store_file_perm": text}).permissions == mode


def test_short_pieces_are_not_read() -> None:
    assert filesystem_options({"filesystem_store_chunk_size": "1"}).piece_bytes == 64 << 10


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({**DATADIR, "filesystem_store_datadirs": "/other"}, "not both"),
        ({"filesystem_store_datadir": "images"}, "not an absolute path"),
        ({"filesystem_store_datadirs": "images:1"}, "not an absolute path"),
        ({"filesystem_store_datadirs": ":1"}, "not an absolute path"),
        ({"filesystem_store_datadirs": "/images:first"}, "path:priority"),
        ({"filesystem_store_datadirs": "/a:1\n/a:2"}, "two priorities for /a"),
        ({"filesystem_store_file_perm": "rw"}, "not octal"),
        ({"filesystem_store_file_perm": "8"}, "not octal"),
        ({"filesystem_store_file_perm": "040"}, "let the owner read"),
        ({"filesystem_store_chunk_size": "0"}, "at least 1"),
        ({"filesystem_store_thread_pool_size": "0"}, "at least 1"),
        ({"filesystem_store_timeout": "-1"}, "filesystem_store_timeout"),
        ({"filesystem_thin_provisioning": "perhaps"}, "neither true nor false"),
        ({"filesystem_store_metadata_file": "/nowhere/at/all"}, "No such file"),
    ],
)
def test_what_glance_refuses(values: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        filesystem_options(values)


@pytest.mark.parametrize(
    "text",
    [
        "rubbish",
        "[1]",
        "1",
        '{"id": "x"}',
        '{"id": 1, "mountpoint": "/x"}',
        '[{"mountpoint": "/"}]',
    ],
)
def test_a_metadata_file_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(ValueError, match=r"filesystem_store_metadata_file .*: not"):
        filesystem_options({"filesystem_store_metadata_file": str(tmp_path / "file")})
