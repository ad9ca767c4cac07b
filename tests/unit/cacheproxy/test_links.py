"""Links point where the client came from."""

from __future__ import annotations

import json

import pytest

from cacheproxy.links import lists_versions, location, versions

CLIENT = "http://127.0.0.1:9292"


@pytest.mark.parametrize(
    ("upstream", "value", "expected"),
    [
        ("http://glance:9292", "http://glance:9292/v2/images/1", "/v2/images/1"),
        ("http://Glance:9292", "http://glance:9292/v2/images/1", "/v2/images/1"),
        ("http://glance", "http://glance:80/v2/images/1", "/v2/images/1"),
        ("http://user:password@glance:9292", "http://glance:9292/v2/tasks/1", "/v2/tasks/1"),
        ("http://[2001:db8::1]:9292", "http://[2001:db8::1]:9292/v2/a?b=c#d", "/v2/a?b=c#d"),
        # Glance does not see the end of TLS before it, or is told of it.
        ("https://glance", "http://glance/v2/images/1", "/v2/images/1"),
        ("https://glance:443", "https://glance/v2/images/1", "/v2/images/1"),
        # Who leads requests to Glance by path may take the path away, or let it be.
        ("https://cloud/image", "https://cloud/image/v2/images/1", "/v2/images/1"),
        ("https://cloud/image", "https://cloud/v2/images/1", "/v2/images/1"),
        ("https://cloud/image", "https://cloud/images/1", "/images/1"),
        ("http://glance:9292", "http://glance:9292", ""),
        ("http://glance:9292", "http://glance:9292?a", "?a"),
    ],
)
def test_a_location_on_the_upstream(upstream: str, value: str, expected: str) -> None:
    assert location(value, upstream, CLIENT) == CLIENT + expected


@pytest.mark.parametrize(
    "value",
    [
        "/v2/images/1",
        "http://glance:9293/v2/images/1",
        "http://glance/v2/images/1",
        "http://glance.example:9292/v2/images/1",
        "http://swift/v1/AUTH_a/b?c=http://glance:9292/v2",
        "rbd://glance:9292/v2",
        "http://[glance:9292/v2",
        "",
    ],
)
def test_a_location_elsewhere(value: str) -> None:
    assert location(value, "http://glance:9292", CLIENT) == value


@pytest.mark.parametrize(
    ("target", "status", "expected"),
    [
        ("/", 300, True),
        ("/v1/images?limit=1", 300, True),
        ("/versions", 200, True),
        ("/versions/", 200, True),
        ("/versions/more?x=/", 200, True),
        ("/versions", 503, False),
        ("/v2/versions", 200, False),
        ("/?versions", 200, False),
        ("/v2/images", 200, False),
    ],
)
def test_where_versions_are_listed(target: str, status: int, expected: bool) -> None:
    assert lists_versions(target, status) is expected


def listing(base: str) -> bytes:
    """Write a list of versions as Glance does."""
    links = [{"rel": "self", "href": f"{base}/v2/"}]
    both = [{"id": name, "status": "CURRENT", "links": links} for name in ("v2.17", "v2.0")]
    return json.dumps({"versions": both}).encode()


@pytest.mark.parametrize(
    "base", ["http://glance:9292", "https://cloud.example/image", "http://x/v3", "HTTP://[::1]:80"]
)
def test_every_version_is_the_clients(base: str) -> None:
    assert versions(listing(base), CLIENT) == listing(CLIENT)


def test_what_else_a_list_of_versions_says_stays() -> None:
    document = listing("http://glance:9292")[:-1] + b' ,  "of": "http://glance:9292/v2/x"}\n'
    expected = document.replace(b'glance:9292/v2/"', b'127.0.0.1:9292/v2/"')
    assert versions(document, CLIENT) == expected


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>300 Multiple Choices</html>",
        b'{"versions": {}}',
        b'{"versions": [{"links": [{"href": 5}]}]}',
        b'{"versions": [{"links": [{"href": "http://glance:9292/"}]}]}',
        b'{"versions": [{"links": [{"href": "/v2/"}]}]}',
        listing("http://glance:9292")[:-1],
        b"\xff\xfe",
    ],
)
def test_what_lists_no_versions_stays(document: bytes) -> None:
    assert versions(document, CLIENT) == document
