from __future__ import annotations

import pytest

from backends.errors import InvalidError
from backends.location import Location
from backends.swift.location import SwiftLocation, container_of, parse

IMAGE = "3a1b2c3d-4e5f-6789-abcd-ef0123456789"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "swift+https://service%3Aglance:pass%20word@keystone:5000/v3/images/1",
            SwiftLocation("images", "1", "https://keystone:5000/v3", "service:glance", "pass word"),
        ),
        (
            "swift+http://service%3Aglance:a%3Ab%40%2F%25@[::1]:5000/images/1",
            SwiftLocation("images", "1", "http://[::1]:5000", "service:glance", "a:b@/%"),
        ),
        (
            "swift+config://ref1/images/a b?c#d%25",
            SwiftLocation("images", "a b?c#d%25", reference="ref1"),
        ),
        (
            "swift+https://swift:8080/v1/AUTH_a/images_1/1",
            SwiftLocation("images_1", "1", "https://swift:8080/v1/AUTH_a"),
        ),
    ],
)
def test_written_and_read(uri: str, expected: SwiftLocation) -> None:
    place = parse(Location(uri))
    assert place == expected
    assert place.uri == uri


@pytest.mark.parametrize(
    ("uri", "written"),
    [
        ("swift://service:glance:key@host/images/1", "service%3Aglance:key"),
        ("swift+https://service:glance:key@host/images/1", "service%3Aglance:key"),
        ("SWIFT+HTTPS://service%3Aglance:key@host/images/1", "service%3Aglance:key"),
        # Glance leaves slashes in its keys, and does not find them again.
        ("swift+https://service%3Aglance:k/e/y@host/images/1", "service%3Aglance:k%2Fe%2Fy"),
        ("swift+https://service%3Aglance:k@y@host/images/1", "service%3Aglance:k%40y"),
    ],
)
def test_read_in_other_forms(uri: str, written: str) -> None:
    assert parse(Location(uri)).uri == f"swift+https://{written}@host/images/1"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "swift",
        "swift://",
        "swift://host",
        "swift://host/image",
        "swift:///images/1",
        "swift://host//1",
        "swift://host/images/",
        "swift://host/images/..",
        "swift://host/images/a\nb",
        "swift://key@host/images/1",
        "swift://:key@host/images/1",
        "swift://user:@host/images/1",
        "swift://user:key@/images/1",
        "swift://user:key@host:port/images/1",
        "swift://user:key@http://host/images/1",
        "swift+ftp://host/images/1",
        "swift+config://images/1",
        "http://host/images/1",
    ],
)
def test_no_location(uri: str) -> None:
    with pytest.raises(InvalidError) as error:
        parse(Location(uri))
    assert "key" not in str(error.value)


@pytest.mark.parametrize(
    ("seed", "container"),
    [
        (0, "glance"),
        (1, "glance_3"),
        (8, "glance_3a1b2c3d"),
        (9, "glance_3a1b2c3d-4"),  # as Glance counts: the dashes among the first `seed` characters
        (32, f"glance_{IMAGE}"),
    ],
)
def test_containers_by_seed(seed: int, container: str) -> None:
    assert container_of("glance", seed, IMAGE.upper()) == container


def test_keys_are_not_shown() -> None:
    place = SwiftLocation("images", "1", "https://host", "project:user", "secret")
    assert "secret" not in repr(place)
    for text in (repr(Location(place.uri)), str(Location(place.uri))):
        assert "secret" not in text
        assert "user" not in text
        assert text.count("host/images/1") == 1
