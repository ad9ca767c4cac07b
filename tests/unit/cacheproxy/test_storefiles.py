"""Which stores a configuration has read directly."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.configuration import KINDS
from backends.rbd.options import RbdOptions
from cacheproxy.cli.program import main
from cacheproxy.config import StoreReadSettings
from cacheproxy.errors import ConfigError
from cacheproxy.metrics import STORE_KINDS
from cacheproxy.storefiles import stores_to_read, within

GLANCE = """
[DEFAULT]
enabled_backends = fast:s3, cheap:file, web:http
[glance_store]
default_backend = fast
[fast]
s3_store_host = http://s3.example
s3_store_access_key = access
s3_store_secret_key = {secret}
s3_store_bucket = images
weight = 7
[cheap]
filesystem_store_datadir = /images
"""
CINDER = "default_store = cinder\n"


def test_metrics_know_all_kinds() -> None:
    assert set(KINDS) <= set(STORE_KINDS)


def write(path: Path, text: str = GLANCE, *, mode: int = 0o640) -> Path:
    path.write_text(text.format(secret="hush"))
    path.chmod(mode)
    return path


def names(*files: Path, read: tuple[str, ...] = ()) -> list[str]:
    found = stores_to_read(StoreReadSettings(files, read))
    assert found is not None
    return [each.name for each in found.stores]


def test_files_and_addresses_are_read_only_where_they_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "glance-api.conf")
    assert names(file) == ["fast"]
    assert names(file, read=("cheap", "fast")) == ["fast", "cheap"]
    assert names(file, read=("web",)) == ["web"]


def test_stores_that_nobody_here_can_read_are_glances_alone(tmp_path: Path) -> None:
    text = "[DEFAULT]\nenabled_backends = slow:cinder,fast:s3,other:vmware\n"
    text += "[glance_store]\ndefault_backend = slow\n" + GLANCE[GLANCE.index("[fast]") :]
    file = write(tmp_path / "glance-api.conf", text)
    assert names(file) == ["fast"]
    with pytest.raises(ConfigError, match="there is no store slow; the files have fast"):
        names(file, read=("slow",))
    single = write(tmp_path / "single.conf", "[glance_store]\nstores = cinder,http\n" + CINDER)
    assert names(single, read=("http",)) == ["http"]
    single.write_text("[glance_store]\nstores = cinder\n" + CINDER)
    with pytest.raises(ConfigError, match="it could name none"):
        names(single)


def test_a_directory_is_read_in_order_and_later_files_count(tmp_path: Path) -> None:
    write(tmp_path / "10-stores.conf")
    write(tmp_path / "20-more.conf", "[fast]\nweight = 9\ns3_store_bucket = others\n")
    write(tmp_path / "notes.txt", "no configuration")
    found = stores_to_read(StoreReadSettings((tmp_path,)))
    assert found is not None
    assert found.stores[0].weight == 9
    assert "others" in repr(found)
    assert "hush" not in repr(found)


def test_what_is_read_ahead_keeps_to_the_memory_of_fills(tmp_path: Path) -> None:
    text = GLANCE.replace("web:http", "ceph:rbd")
    found = stores_to_read(StoreReadSettings((write(tmp_path / "glance-api.conf", text),)))
    assert found is not None
    kept = within(found, 32 << 20)
    assert [each.name for each in kept.stores] == ["fast", "ceph"]
    assert kept.stores[0] == found.stores[0]
    options = kept.stores[1].options
    assert isinstance(options, RbdOptions)
    assert options.reads_ahead_bytes == 32 << 20
    assert within(found, 1 << 40) == found


def test_without_files_no_store_is_read() -> None:
    assert stores_to_read(StoreReadSettings()) is None


@pytest.mark.parametrize(
    ("text", "read", "says"),
    [
        (GLANCE, ("absent",), "[stores] read: there is no store absent; the files have fast, "),
        ("[glance_store]\nstores = file,http\nfilesystem_store_datadir = /i\n", (), "named it"),
        ("[DEFAULT]\nenabled_backends = fast:tape\n", (), "[DEFAULT] enabled_backends: tape"),
        ("[DEFAULT]\nsecret_thing\n", (), "line 2: "),
        ("[DEFAULT]\nenabled_backends = a:file\n", (), "[glance_store] default_backend: not set"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, read: tuple[str, ...], says: str) -> None:
    file = write(tmp_path / "glance-api.conf", text)
    with pytest.raises(ConfigError) as raised:
        names(file, read=read)
    message = str(raised.value)
    assert message.startswith("[stores] ")
    assert says in message.replace("[stores] read names them", "named it")
    assert "secret_thing" not in message
    assert "\n" not in message


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "absent.conf", "cannot be read"), (tmp_path, "no file there")):
        with pytest.raises(ConfigError, match=says):
            names(path)


def test_secrets_that_everybody_may_read_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names(write(tmp_path / "closed.conf"))
    assert not caplog.records
    names(write(tmp_path / "open.conf", mode=0o644))
    (record,) = caplog.records
    assert "open.conf: everybody here may read its secrets; chmod o=" in record.getMessage()
    assert "hush" not in record.getMessage()


def test_check_config_reads_them_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "glance-api.conf")
    own = tmp_path / "cacheproxy.conf"
    own.write_text(
        f"[upstream]\nurl = http://glance.example\n[stores]\nconfig_file = {file}\nread = x\n"
    )
    assert main(["check-config", "--config-file", str(own)]) == 1
    assert "there is no store x" in capsys.readouterr().err
    own.write_text(own.read_text().replace("read = x", "read = fast"))
    assert main(["check-config", "--config-file", str(own)]) == 0
