from __future__ import annotations

import pytest

from backends.errors import InvalidError
from backends.location import Location
from backends.rbd.location import Address, new_location


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("rbd://f-1/images/image/snap", Address("image", "f-1", "images", "snap")),
        ("RBD://f-1/images/image/snap", Address("image", "f-1", "images", "snap")),
        ("rbd://f%2F1/a%20b/%25/s%2Fs", Address("%", "f/1", "a b", "s/s")),
        ("rbd://image", Address("image")),
        ("rbd://50%25", Address("50%25")),
    ],
)
def test_what_glance_has(uri: str, address: Address) -> None:
    assert Address.of(Location(uri)) == address


@pytest.mark.parametrize(
    "uri",
    [
        "rbd://",
        "rbd://images/image",
        "rbd://f/images/image",
        "rbd://f/images/image/snap/more",
        "rbd://f//image/snap",
        "rbd:///images/image/snap",
        "rbd:image",
        "s3://f/images/image/snap",
        "rbd://f/images/image%00x/snap",
        "rbd://ima\0ge",
    ],
)
def test_what_is_none(uri: str) -> None:
    with pytest.raises(InvalidError):
        Address.of(Location(uri))


@pytest.mark.parametrize("name", ["image", "a b/c", "Ünïcödé", "50%25"])
def test_new_locations(name: str) -> None:
    location = new_location("f-1", "ima ges", name)
    assert Address.of(location) == Address(name, "f-1", "ima ges", "snap")
    assert location.uri.isascii()
    assert location.uri.count("/") == 5
