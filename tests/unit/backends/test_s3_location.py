from __future__ import annotations

import pytest

from backends.errors import InvalidError
from backends.location import Location
from backends.s3.location import Address, Endpoint


class TestEndpoint:
    @pytest.mark.parametrize(
        ("host", "url", "location"),
        [
            ("s3.example.com", "http://s3.example.com", "s3://s3.example.com/b/k"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "s3://127.0.0.1:8080/b/k"),
            ("https://rgw:7480/", "https://rgw:7480", "s3+https://rgw:7480/b/k"),
            ("https://[::1]:7480", "https://[::1]:7480", "s3+https://[::1]:7480/b/k"),
            ("https://gw/s3/", "https://gw/s3", "s3+https://gw/s3/b/k"),
        ],
    )
    def test_as_glance_reads_it(self, host: str, url: str, location: str) -> None:
        endpoint = Endpoint.of(host)
        assert endpoint.url == url
        assert endpoint.location(Address("b", "k")) == Location(location)
        assert Address.of(endpoint.location(Address("b", "k"))) == Address("b", "k")

    @pytest.mark.parametrize(
        "host", ["", " ", "ftp://host", "https://", "https:///x", "host?x", "user:pass@host", "a b"]
    )
    def test_no_host(self, host: str) -> None:
        with pytest.raises(ValueError, match="s3_store_host") as error:
            Endpoint.of(host)
        assert "pass" not in str(error.value)

    @pytest.mark.parametrize(
        ("host", "region", "is_amazon"),
        [
            ("s3.amazonaws.com", "us-east-1", True),
            ("https://s3-eu-central-1.amazonaws.com", "eu-central-1", True),
            ("https://s3.eu-west-3.amazonaws.com:443", "eu-west-3", True),
            ("https://s3-cn-north-1.amazonaws.com.cn", "cn-north-1", True),
            ("https://s3.us-gov-west-1.amazonaws.com", "us-gov-west-1", True),
            ("https://s3.amazonaws.com.example.com", "us-east-1", False),
            ("https://rgw.example.com", "us-east-1", False),
        ],
    )
    def test_the_region_that_the_host_tells(self, host: str, region: str, is_amazon: bool) -> None:
        endpoint = Endpoint.of(host)
        assert endpoint.region == region
        assert endpoint.is_amazon is is_amazon


class TestAddress:
    @pytest.mark.parametrize(
        "uri",
        [
            "s3://host/bucket/key",
            "s3+http://host:80/bucket/key",
            "s3+https://host/bucket/key",
            "S3+HTTPS://host/bucket/key/",
            "s3://access:secret@host/bucket/key",
            "s3+https://access:sec/ret+/@host/bucket/key",
            "s3://access:/@/@host:80/path/bucket/key",
            "s3://access:sec?ret#@host/bucket/key",
        ],
    )
    def test_both_forms(self, uri: str) -> None:
        assert Address.of(Location(uri)) == Address("bucket", "key")

    @pytest.mark.parametrize(
        "key", ["a b", "50%25", "Ünïcödé", "a?b#c", "a@b", "user:pass@x", "-rf"]
    )
    def test_keys_are_not_quoted(self, key: str) -> None:
        endpoint = Endpoint.of("host:80")
        location = endpoint.location(Address("bucket", key))
        assert location.uri == f"s3://host:80/bucket/{key}"
        assert Address.of(location) == Address("bucket", key)

    @pytest.mark.parametrize(
        "uri",
        [
            "",
            "s3",
            "s3:",
            "s3://",
            "s3://host",
            "s3://host/key",
            "s3:///bucket/key",
            "s3://host//key",
            "s3://https://host/bucket/key",
            "s3://access:secret@host/key",
            "s3://host/bucket/..",
            "s3://host/bucket/.",
            "s3://host/../key",
            "s3://host/bucket/a\nb",
            "s3s://host/bucket/key",
            "http://host/bucket/key",
        ],
    )
    def test_no_such_location(self, uri: str) -> None:
        with pytest.raises(InvalidError) as error:
            Address.of(Location(uri))
        assert "secret" not in str(error.value)
