from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from backends.swift.options import MEGABYTE, SwiftAccount, SwiftOptions
from backends.swift.settings import swift_options

# As an operator has them, but for the places in brackets.
GLANCE_API = """
[glance_store]
stores = swift,http
default_store = swift
default_swift_reference = swift_image_store
swift_store_auth_insecure = False
swift_store_auth_address = http://swift.example.com:5000/v3
swift_store_endpoint_type = internalURL
swift_store_container = glance_images
swift_store_config_file = {file}
swift_store_user = glance_user
swift_store_key = password123
swift_store_large_object_size = 5120
swift_store_large_object_chunk_size = 200
swift_store_create_container_on_put = True
swift_store_region = RegionOne
swift_store_retry_get_count = 5
"""
ACCOUNTS = """
[swift_image_store]
user = service:glance
key = "open stack"
user_domain_id = default
project_domain_id = default
auth_version = 3
auth_address = http://10.0.0.11:5000/v3
[by_name]
user = 'project:user'
key = 100%%
user_domain_name = people
project_domain_name = projects
auth_address = keystone:5000
[credential]
application_credential_id = number
application_credential_secret = secret
auth_address = https://keystone:5000/v3
[incomplete]
user = project:user
auth_address = https://keystone:5000/v3
"""
FLAT = {
    "swift_store_auth_address": "https://keystone:5000/v3",
    "swift_store_user": "service:glance",
    "swift_store_key": "secret",
}


def test_an_operators_configuration(tmp_path: Path) -> None:
    file = tmp_path / "accounts.conf"
    file.write_text(ACCOUNTS)
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(GLANCE_API.format(file=file))
    assert swift_options(parser["glance_store"]) == SwiftOptions(
        accounts={
            "swift_image_store": SwiftAccount(
                "http://10.0.0.11:5000/v3", "service:glance", "open stack"
            ),
            "by_name": SwiftAccount(
                "keystone:5000",
                "project:user",
                "100%",
                user_domain_id=None,
                user_domain_name="people",
                project_domain_id=None,
                project_domain_name="projects",
            ),
            "credential": SwiftAccount(
                "https://keystone:5000/v3",
                application_credential_id="number",
                application_credential_secret="secret",
            ),
        },
        default_reference="swift_image_store",
        locations_name_references=True,
        container="glance_images",
        create_container=True,
        large_object_bytes=5120 * MEGABYTE,
        segment_bytes=200 * MEGABYTE,
        region="RegionOne",
        endpoint_type="internalURL",
        resumptions=5,
    )


def test_glances_defaults() -> None:
    account = SwiftAccount("https://keystone:5000/v3", "service:glance", "secret")
    assert swift_options(FLAT) == SwiftOptions({"ref1": account})


def test_every_other_option() -> None:
    options = swift_options(
        {
            "swift_store_multi_tenant": "yes",
            "swift_store_admin_tenants": "one, two,",
            "swift_store_multiple_containers_seed": "32",
            "swift_store_endpoint": "https://swift/v1/account",
            "swift_store_service_type": "store",
            "swift_store_cacert": "/ca.pem",
            "swift_store_auth_insecure": "1",
            "swift_store_expire_soon_interval": "5",
            "swift_store_use_trusts": "false",
            "swift_store_verify_uploads": "true",
            "swift_store_ssl_compression": "false",
        }
    )
    assert options == SwiftOptions(
        multi_tenant=True,
        admin_projects=("one", "two"),
        containers_seed=32,
        endpoint="https://swift/v1/account",
        service_type="store",
        ca_file=Path("/ca.pem"),
        verify_certificates=False,
        expire_soon_seconds=5,
        use_trusts=False,
        verify_uploads=True,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("swift_store_auth_version", "2"),
        ("swift_store_key", ""),
        ("swift_store_endpoint_type", "secretURL"),
        ("swift_store_multiple_containers_seed", "33"),
        ("swift_store_large_object_size", "0"),
        ("swift_store_large_object_chunk_size", "-1"),
        ("swift_store_retry_get_count", "often"),
        ("swift_store_create_container_on_put", "perhaps"),
        ("swift_store_config_file", "/nowhere/at/all"),
    ],
)
def test_what_makes_no_sense(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"^[^']+") as error:
        swift_options({**FLAT, name: value})
    assert "secret'" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["[a]\nkey = hidden%\n", "hidden", "[a]\nkey = 'hidden\n", "[a]\nauth_version = 2\n"]
)
def test_a_file_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    file = tmp_path / "accounts.conf"
    file.write_text(text)
    with pytest.raises(ValueError, match=r".") as error:
        swift_options({"swift_store_config_file": str(file)})
    assert "hidden" not in str(error.value)


def test_a_buffer_on_the_disk(tmp_path: Path) -> None:
    told = {"swift_buffer_on_upload": "true", "swift_upload_buffer_dir": str(tmp_path)}
    assert swift_options(FLAT | told).buffer_directory == tmp_path
    assert swift_options(FLAT | told | {"swift_buffer_on_upload": "false"}).buffer_directory is None
    for directory in ("", str(tmp_path / "absent")):
        with pytest.raises(ValueError, match="swift_upload_buffer_dir"):
            swift_options(FLAT | told | {"swift_upload_buffer_dir": directory})


def test_a_file_and_many_projects(tmp_path: Path) -> None:
    file = tmp_path / "accounts.conf"
    file.write_text(ACCOUNTS)
    with pytest.raises(
        ValueError, match="swift_store_multi_tenant and swift_store_config_file exclude"
    ):
        swift_options({"swift_store_config_file": str(file), "swift_store_multi_tenant": "true"})


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(swift_options(FLAT))
