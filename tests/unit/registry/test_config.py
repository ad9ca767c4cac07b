"""Reading an operator's glance-api.conf."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from backends.configuration import StoreSettings, StoresSettings
from backends.options import DataDirectory, FilesystemOptions, HttpOptions
from registry.config import (
    FormatSettings,
    LimitSettings,
    Settings,
    load_settings,
    load_stores,
)
from registry.db.options import DatabaseSettings
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
        database=DatabaseSettings("sqlite:////var/lib/cacheproxy-registry/registry.sqlite"),
    )
    images = FilesystemOptions((DataDirectory(Path("/var/lib/glance/images")),))
    web = HttpOptions(verify_certificates=False)
    assert load_stores([tmp_path / "glance-api.conf"]) == StoresSettings(
        (StoreSettings("file", "file", images), StoreSettings("http", "http", web)),
        "file",
        several=False,
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
image_member_quota = 6
image_location_quota = 7
image_size_cap = 1000
limit_param_default = 3
api_limit_max = 4
show_image_direct_url = True
show_multiple_locations = yes
[database]
connection = sqlite:////tmp/x.sqlite
max_pool_size = 2
max_overflow = 0
pool_timeout = 3 # seconds
connection_recycle_time = -1
max_retries = -1
retry_interval = 4
db_max_retries = 5
db_retry_interval = 6
db_inc_retry_interval = false
db_max_retry_interval = 7
mysql_sql_mode =
mysql_wsrep_sync_wait = 1
[image_format]
container_formats = bare
disk_formats = raw, gpt
[paste_deploy]
flavor = caching
[cacheproxy]
manifest_chunk_bytes = 262144  # 256 KiB
verify_downloads = true
metrics_host = ::1
metrics_port = 9293  # Prometheus
"""
    assert load(tmp_path, text) == Settings(
        host="::1",
        port=9999,
        public_endpoint="https://images.example",
        database=DatabaseSettings(
            "sqlite:////tmp/x.sqlite",
            max_pool_size=2,
            max_overflow=0,
            pool_timeout=3,
            connection_recycle_time=-1,
            max_retries=-1,
            retry_interval=4,
            db_max_retries=5,
            db_retry_interval=6,
            db_inc_retry_interval=False,
            db_max_retry_interval=7,
            mysql_sql_mode="",
            mysql_wsrep_sync_wait=1,
        ),
        hash_algorithm="sha256",
        manifest_chunk_bytes=256 << 10,
        verify_downloads=True,
        show_direct_url=True,
        show_locations=True,
        metrics_host="::1",
        metrics_port=9293,
        limits=LimitSettings(-1, 5, 6, 7, 1000, 3, 4),
        formats=FormatSettings(("bare",), ("raw", "gpt")),
    )


def test_later_files_count_more(tmp_path: Path) -> None:
    first, second = tmp_path / "1.conf", tmp_path / "2.conf"
    first.write_text("[DEFAULT]\nbind_port = 1\nbind_host = 127.0.0.2\n")
    second.write_text("[DEFAULT]\nbind_port = 2\n")
    settings = load_settings([first, second])
    assert (settings.host, settings.port) == ("127.0.0.2", 2)


def test_unknown_options_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "[DEFAULT]\nbacklog = 5\nbind_port = 1\n[database]\npasword = secret\n"
    with caplog.at_level(logging.INFO, "registry"):
        load(tmp_path, text)
    assert len(caplog.messages) == 1
    assert "[DEFAULT] backlog; [database] pasword" in caplog.text
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
        ("[paste_deploy]\nflavor = keystone", "auth_url"),
        ("[paste_deploy]\nflavor = keystone+caching", "auth_url"),
        ("[paste_deploy]\nflavor = trusted-auth", "trusted-auth"),
        ("[database]\nconnection = oracle://u:secret@h/d", "oracle"),
        ("[database]\nconnection = nonsense", "not a database URL"),
        ("[database]\nconnection = sqlite://", "needs a file"),
        ("[database]\nconnection = sqlite:///:memory:", "needs a file"),
        ("[cacheproxy]\nmetrics_port = 65536", "metrics_port"),
        ("[DEFAULT]\nshow_image_direct_url = perhaps", "show_image_direct_url"),
        ("[DEFAULT]\nenabled_backends = $nothing", "enabled_backends"),
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


SEVERAL = """\
[DEFAULT]
enabled_backends = Fast:file, remote:swift
backlog = 5
[glance_store]
default_backend = Fast
swift_store_user = as before there were several
[backend_defaults]
rbd_store_pool = images
swift_store_retry_get_count = 5
[Fast]
filesystem_store_datadir = /nvme
weight = 10
swift_store_container = not here
[remote]
store_description = far
swift_store_contaner = a mistake
swift_store_key = secret
swift_buffer_on_upload = False
[os_glance_staging_store]
filesystem_store_datadir = /staging
"""


def test_options_of_stores_are_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "registry"):
        load(tmp_path, SEVERAL)
    (told,) = caplog.messages
    assert told == (
        "options that this program does not know are ignored: [DEFAULT] backlog; "
        "[Fast] swift_store_container; [remote] swift_store_contaner"
    )


def test_only_who_serves_needs_the_stores(tmp_path: Path) -> None:
    load(tmp_path, SEVERAL)
    with pytest.raises(ConfigError, match=r"\[remote\] default_swift_reference: no account"):
        load_stores([tmp_path / "glance-api.conf"])


def test_a_store_of_the_callers_needs_keystone(tmp_path: Path) -> None:
    text = "[glance_store]\nstores = file,swift\nswift_store_multi_tenant = true\n"
    (tmp_path / "glance-api.conf").write_text(text)
    with pytest.raises(ConfigError, match=r"\[glance_store\] swift_store_multi_tenant"):
        load_stores([tmp_path / "glance-api.conf"])


def test_stores_in_several_files(tmp_path: Path) -> None:
    first, second = tmp_path / "1.conf", tmp_path / "2.conf"
    first.write_text("[glance_store]\nstores = http,file\nfilesystem_store_datadir = /a\n")
    second.write_text("[glance_store]\nfilesystem_store_datadir = /b\n")
    options = FilesystemOptions((DataDirectory(Path("/b")),))
    assert load_stores([first, second]).stores[1] == StoreSettings("file", "file", options)
