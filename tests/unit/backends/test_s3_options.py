from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backends.errors import UnsupportedError
from backends.location import Location
from backends.opening import open_store, options_type
from backends.s3.options import MIB, S3Options, s3_options
from backends.s3.store import S3Store

LEAST = {
    "s3_store_host": "https://s3.example.com",
    "s3_store_access_key": "KEY",
    "s3_store_secret_key": "SECRET",
    "s3_store_bucket": "glance",
}


def test_glances_defaults() -> None:
    assert s3_options(LEAST) == S3Options("https://s3.example.com", "glance", "KEY", "SECRET")
    options = s3_options(LEAST)
    assert options.large_object_bytes == 100 * MIB
    assert options.part_bytes == 10 * MIB
    assert options.parts_at_once == 10
    assert (options.region, options.addressing, options.ca_file) == ("", "auto", None)
    assert options.create_bucket is False


def test_everything_set() -> None:
    options = s3_options(
        LEAST
        | {
            "s3_store_region_name": "eu-north-1",
            "s3_store_create_bucket_on_put": "True",
            "s3_store_bucket_url_format": "virtual",
            "s3_store_large_object_size": "200",
            "s3_store_large_object_chunk_size": "5",
            "s3_store_thread_pools": "3",
            "s3_store_cacert": "/etc/ssl/s3.pem",
            "s3_store_enable_data_integrity_protection": "True",
            "weight": "3",
        }
    )
    assert options.region == "eu-north-1"
    assert options.create_bucket is True
    assert options.addressing == "virtual"
    assert options.large_object_bytes == 200 * MIB
    assert options.part_bytes == 5 * MIB
    assert options.parts_at_once == 3
    assert options.ca_file == Path("/etc/ssl/s3.pem")


@pytest.mark.parametrize("name", LEAST)
def test_what_must_be_set(name: str) -> None:
    for value in ({}, {name: ""}):
        with pytest.raises(ValueError, match=name):
            s3_options({key: text for key, text in LEAST.items() if key != name} | value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("s3_store_large_object_chunk_size", "4"),
        ("s3_store_large_object_chunk_size", "ten"),
        ("s3_store_large_object_size", "-1"),
        ("s3_store_thread_pools", "0"),
        ("s3_store_create_bucket_on_put", "perhaps"),
        ("s3_store_bucket_url_format", "subdomain"),
    ],
)
def test_what_makes_no_sense(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        s3_options(LEAST | {name: value})


def test_without_its_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "backends.s3.store")
    monkeypatch.delitem(sys.modules, "backends.s3.client")
    monkeypatch.setitem(sys.modules, "aiobotocore.config", None)  # as if it were not installed
    with pytest.raises(UnsupportedError, match=r"aiobotocore.*pip install 'cacheproxy\[s3\]'"):
        open_store(s3_options(LEAST))


async def test_a_store_shows_no_keys(tmp_path: Path) -> None:
    options = s3_options(LEAST)
    assert "KEY" not in repr(options)
    assert "SECRET" not in repr(options)
    store = open_store(options)
    assert repr(store).endswith("> S3Store(https://s3.example.com, glance)")
    assert isinstance(options, options_type(Location("s3+https://host/bucket/key")))
    await store.aclose()
    for wrong in (
        {"s3_store_host": "https://user:SECRET@host"},
        {"s3_store_cacert": str(tmp_path / "absent.pem")},
    ):
        with pytest.raises(ValueError, match=r"s3_store_host|CA file") as error:
            S3Store(s3_options(LEAST | wrong))
        assert "SECRET" not in str(error.value)
