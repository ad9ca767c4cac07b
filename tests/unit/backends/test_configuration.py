"""Glance's configuration of stores, read as Glance reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg

from backends.configuration import KINDS, StoreSettings, StoresSettings, read_stores
from backends.glance_options import OF_EACH, OPTIONS_OF
from backends.options import DataDirectory, FilesystemOptions, HttpOptions
from backends.s3.options import S3Options
from backends.swift.options import SwiftAccount, SwiftOptions

IMAGES = FilesystemOptions((DataDirectory(Path("/var/lib/glance/images")),))
HTTP = HttpOptions(verify_certificates=False)  # Glance's default


def read(text: str, tmp_path: Path) -> StoresSettings:
    file = tmp_path / "glance-api.conf"
    file.write_text(text)
    sections: dict[str, dict[str, list[str]]] = {}
    cfg.ConfigParser(str(file), sections).parse()
    return read_stores(sections)


def test_nothing_said() -> None:
    stores = (StoreSettings("file", "file", IMAGES), StoreSettings("http", "http", HTTP))
    assert read_stores({}) == StoresSettings(stores, "file", several=False)


def test_one_store_of_each_kind(tmp_path: Path) -> None:
    accounts = tmp_path / "glance-store.conf"
    accounts.write_text(
        "[swift_image_store]\nuser = service:glance\nkey = openstack\n"
        "auth_version = 3\nauth_address = http://10.0.0.11:5000/v3\n"
    )
    text = f"""
[glance_store]
stores = swift, http,s3
default_store = swift+config
default_swift_reference = swift_image_store
swift_store_config_file = {accounts}
swift_store_container = glance_images
https_insecure = False
s3_store_host = https://s3.example.com
s3_store_bucket = images
s3_store_access_key = access # its key
s3_store_secret_key = secret
filesystem_store_datadir = not a path, and not used
"""
    settings = read(text, tmp_path)
    assert [store.name for store in settings.stores] == ["swift", "http", "s3"]
    assert (settings.default, settings.several) == ("swift", False)
    swift, http, s3 = (store.options for store in settings.stores)
    assert isinstance(swift, SwiftOptions)
    assert swift.container == "glance_images"
    assert swift.accounts["swift_image_store"].user == "service:glance"
    assert http == HttpOptions(verify_certificates=True)
    # A comment may stand behind a value, but what is secret is taken as it is.
    assert s3 == S3Options("https://s3.example.com", "images", "access # its key", "secret")


def test_several_stores(tmp_path: Path) -> None:
    text = """
[DEFAULT]
enabled_backends = Fast:file, slow : file,web:http
[glance_store]
default_backend = slow
filesystem_store_datadir = /not/used
[backend_defaults]
filesystem_store_file_perm = 640
filesystem_store_datadir = /images
weight = 7
[Fast]
filesystem_store_datadir = /nvme
store_description = NVMe, for what boots often
weight = 10  # first
[slow]
filesystem_store_file_perm = 600
"""
    assert read(text, tmp_path) == StoresSettings(
        (
            StoreSettings(
                "Fast",
                "file",
                FilesystemOptions((DataDirectory(Path("/nvme")),), 0o640),
                10,
                "NVMe, for what boots often",
            ),
            StoreSettings(
                "slow", "file", FilesystemOptions((DataDirectory(Path("/images")),), 0o600)
            ),
            StoreSettings("web", "http", HTTP),
        ),
        "slow",
        several=True,
    )


def test_options_given_more_than_once(tmp_path: Path) -> None:
    text = """
[glance_store]
filesystem_store_datadirs = /a:10
filesystem_store_datadirs = /b  # the rest
https_ca_certificates_file = /old.pem
[GLANCE_STORE]
https_ca_certificates_file = /new.pem
"""
    file, http = (store.options for store in read(text, tmp_path).stores)
    assert file == FilesystemOptions(
        (DataDirectory(Path("/a"), 10), DataDirectory(Path("/b"))),
    )
    assert http == HttpOptions(ca_file=Path("/new.pem"))


def test_options_that_name_options(tmp_path: Path) -> None:
    text = r"""
[DEFAULT]
state = /srv
[glance_store]
stores = file,swift
part = images
filesystem_store_datadir = ${DEFAULT.state}/$part
swift_store_auth_address = http://$names.keystone:5000/v3
swift_store_user = service:glance
swift_store_key = 100$$ and \$ more
[names]
keystone = identity
"""
    file, swift = (store.options for store in read(text, tmp_path).stores)
    assert file == FilesystemOptions((DataDirectory(Path("/srv/images")),))
    assert isinstance(swift, SwiftOptions)
    assert swift.accounts == {
        "ref1": SwiftAccount("http://identity:5000/v3", "service:glance", "100$ and $ more")
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[glance_store]\nstores = file, cinder", "[glance_store] stores: cinder is not available"),
        ("[glance_store]\nstores = http", "[glance_store] default_store: file is not one of"),
        ("[glance_store]\ndefault_store = s3", "[glance_store] default_store: s3 is not one of"),
        (
            "[glance_store]\nfilesystem_store_datadir = images",
            "[glance_store] filesystem_store_datadir is not an absolute path: 'images'",
        ),
        (
            "[glance_store]\nfilesystem_store_datadirs = /a:high",
            "[glance_store] filesystem_store_datadirs is not path:priority: '/a:high'",
        ),
        (
            "[glance_store]\nfilesystem_store_datadirs = /a\nfilesystem_store_datadir = /b",
            "not both",
        ),
        ("[glance_store]\nfilesystem_store_file_perm = 888", "is not octal: 888"),
        ("[glance_store]\nhttps_insecure = perhaps", "[glance_store] https_insecure"),
        ("[glance_store]\nstores = file,s3\ns3_store_secret_key = secret", "s3_store_host"),
        (
            "[glance_store]\nfilesystem_store_datadir = $state_path/images",
            "[glance_store] filesystem_store_datadir: $state_path is no option that is set",
        ),
        (
            "[glance_store]\nfilesystem_store_datadir = $filesystem_store_datadir",
            "[glance_store] filesystem_store_datadir: $filesystem_store_datadir is no option",
        ),
        ("[DEFAULT]\nenabled_backends = file", "[DEFAULT] enabled_backends: file is not NAME:KIND"),
        ("[DEFAULT]\nenabled_backends = a:file,a:http", "a is there twice"),
        ("[DEFAULT]\nenabled_backends = os_glance_x:file", "rename os_glance_x"),
        ("[DEFAULT]\nenabled_backends = a:vmware", "[DEFAULT] enabled_backends: vmware is not"),
        ("[DEFAULT]\nenabled_backends = a:file", "[glance_store] default_backend: not set"),
        (
            "[DEFAULT]\nenabled_backends = a:file\n[glance_store]\ndefault_backend = b",
            "[glance_store] default_backend: b is not one of [DEFAULT] enabled_backends",
        ),
        ("[DEFAULT]\nenabled_backends = a:file\n[a]\nweight = heavy", "[a] weight: 'heavy'"),
        (
            "[DEFAULT]\nenabled_backends = a:s3\n[a]\ns3_store_secret_key = secret",
            "[a] s3_store_host",
        ),
    ],
)
def test_mistakes(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[") as caught:
        read(text, tmp_path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value).replace("s3_store_secret_key", "")


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@given(
    weights=st.dictionaries(NAMES, st.integers(-100, 100), min_size=1, max_size=6),
    shared=st.booleans(),
)
def test_every_store_has_its_own(
    weights: dict[str, int],
    shared: bool,
) -> None:
    names = list(weights)
    sections: dict[str, Mapping[str, list[str]]] = {
        "DEFAULT": {"enabled_backends": [",".join(f"{name}:file" for name in names)]},
        "glance_store": {"default_backend": [names[-1]]},
        "backend_defaults": {"filesystem_store_datadir": ["/shared"]},
    }
    for name, weight in weights.items():
        own = {} if shared else {"filesystem_store_datadir": [f"/{name}"]}
        sections[name] = {"weight": [str(weight)], **own}
    settings = read_stores(sections)
    assert settings.default == names[-1]
    assert [(store.name, store.weight) for store in settings.stores] == list(weights.items())
    for store in settings.stores:
        assert isinstance(store.options, FilesystemOptions)
        path = store.options.directories[0].path
        assert path == Path("/shared" if shared else f"/{store.name}")


KNOWN = sorted({name for names in OPTIONS_OF.values() for name in names} | OF_EACH)
VALUES = st.sampled_from(["", "0", "5", "true", "/a:1", "$b", "https://h", "file", "secret # x"])


@given(
    stores=st.lists(st.sampled_from([*KINDS, "cinder", ""]), max_size=4),
    several=st.booleans(),
    options=st.dictionaries(st.sampled_from(KNOWN), st.lists(VALUES, min_size=1, max_size=2)),
)
def test_a_configuration_is_read_or_refused_in_one_line(
    stores: list[str],
    several: bool,
    options: dict[str, list[str]],
) -> None:
    options.pop("swift_store_config_file", None)  # of which there is none
    named = ",".join(f"{kind}1:{kind}" for kind in stores)
    sections: dict[str, Mapping[str, list[str]]] = {
        "DEFAULT": {"enabled_backends": [named] if several else [""]},
        "glance_store": {"stores": [",".join(stores)], "default_backend": ["file1"], **options},
        "file1": options,
        "backend_defaults": options,
    }
    try:
        settings = read_stores(sections)
    except ValueError as error:
        told = str(error)
    else:
        assert settings.default in {store.name for store in settings.stores}
        told = f"[{settings}"
    assert told.startswith("[")
    assert "\n" not in told
    assert "secret # x" not in told
