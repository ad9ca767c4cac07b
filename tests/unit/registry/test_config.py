"""Reading an operator's glance-api.conf."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from registry.config import (
    DataDirectorySettings,
    FormatSettings,
    LimitSettings,
    Settings,
    load_settings,
)
from registry.errors import ConfigError

# One of the configurations that operators gave us, to the letter.
OPERATORS_FILE = """\
[glance_store]
stores = file, http
default_store = file
filesystem_store_datadir = /var/lib/glance/images/
"""


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "glance-api.conf"
    file.write_text(text)
    return load_settings([file])


def test_an_operators_file(tmp_path: Path) -> None:
    assert load(tmp_path, OPERATORS_FILE) == Settings(
        database="sqlite:////var/lib/cacheproxy-registry/registry.sqlite",
        data_directories=(DataDirectorySettings(Path("/var/lib/glance/images")),),
    )


def test_everything_said(tmp_path: Path) -> None:
    text = """\
[DEFAULT]
bind_host = ::1
bind_port = 9999  # not Glance's
public_endpoint = https://images.example
hashing_algorithm = sha256
image_property_quota = -1 # none
image_tag_quota = 5
image_size_cap = 1000
limit_param_default = 3
api_limit_max = 4
[database]
connection = sqlite:////tmp/x.sqlite
[glance_store]
stores = file
filesystem_store_datadirs = /a:10
filesystem_store_datadirs = /b
[image_format]
container_formats = bare
disk_formats = raw, gpt
[paste_deploy]
flavor = caching
[cacheproxy]
manifest_chunk_bytes = 262144  # 256 KiB
"""
    assert load(tmp_path, text) == Settings(
        host="::1",
        port=9999,
        public_endpoint="https://images.example",
        database="sqlite:////tmp/x.sqlite",
        stores=("file",),
        data_directories=(
            DataDirectorySettings(Path("/a"), 10),
            DataDirectorySettings(Path("/b")),
        ),
        hash_algorithm="sha256",
        manifest_chunk_bytes=256 << 10,
        limits=LimitSettings(-1, 5, 1000, 3, 4),
        formats=FormatSettings(("bare",), ("raw", "gpt")),
    )


def test_later_files_count_more(tmp_path: Path) -> None:
    first, second = tmp_path / "1.conf", tmp_path / "2.conf"
    first.write_text("[DEFAULT]\nbind_port = 1\nbind_host = 127.0.0.2\n")
    second.write_text("[DEFAULT]\nbind_port = 2\n")
    settings = load_settings([first, second])
    assert (settings.host, settings.port) == ("127.0.0.2", 2)


def test_unknown_options_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "[DEFAULT]\ndebug = true\nbind_port = 1\n[keystone_authtoken]\npassword = secret\n"
    with caplog.at_level(logging.INFO, "registry"):
        load(tmp_path, text)
    assert len(caplog.messages) == 1
    assert "[DEFAULT] debug; [keystone_authtoken] password" in caplog.text
    assert "bind_port" not in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[DEFAULT]\nbind_port = http", "bind_port"),
        ("[DEFAULT]\nbind_port = 65536", "bind_port"),
        ("[DEFAULT]\nimage_size_cap = 1 TB", "image_size_cap"),
        ("[DEFAULT]\nhashing_algorithm = crc32", "crc32"),
        ("[cacheproxy]\nmanifest_chunk_bytes = 65536", "262144, 1048576, 4194304"),
        ("[DEFAULT]\nhashing_algorithm = shake_128", "shake_128"),
        ("[DEFAULT]\nenabled_backends = a:file", "enabled_backends"),
        ("[paste_deploy]\nflavor = keystone", "Keystone is not available yet"),
        ("[paste_deploy]\nflavor = keystone+caching", "Keystone is not available yet"),
        ("[database]\nconnection = mysql+pymysql://u:secret@h/d", "mysql"),
        ("[database]\nconnection = nonsense", "not a database URL"),
        ("[database]\nconnection = sqlite://", "needs a file"),
        ("[database]\nconnection = sqlite:///:memory:", "needs a file"),
        ("[glance_store]\nstores = swift,http\ndefault_store = swift", "swift"),
        ("[glance_store]\nstores = http", "default_store"),
        ("[glance_store]\nfilesystem_store_datadir = images", "absolute"),
        ("[glance_store]\nfilesystem_store_datadirs = /a:high", "/a:high"),
        (
            "[glance_store]\nfilesystem_store_datadir = /a\nfilesystem_store_datadirs = /b",
            "not both",
        ),
        ("bind_port = 1", "glance-api.conf"),
        ("[DEFAULT", "glance-api.conf"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("+", r"\+")) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.conf"):
        load_settings([tmp_path / "nowhere.conf"])
