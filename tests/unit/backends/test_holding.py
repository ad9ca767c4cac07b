"""Which locations are within what a store is for, and which lead elsewhere."""

from __future__ import annotations

import pytest

from backends.configuration import KINDS
from backends.holding import is_of_kind, is_within
from backends.location import Location
from backends.options import MemoryOptions

OPTIONS = {
    "file": {"filesystem_store_datadir": "/images"},
    "http": {},
    "rbd": {"rbd_store_pool": "images"},
    "s3": {
        "s3_store_host": "https://s3.example",
        "s3_store_bucket": "images",
        "s3_store_access_key": "a",
        "s3_store_secret_key": "b",
    },
    "swift": {
        "swift_store_auth_address": "https://keystone.example/v3",
        "swift_store_user": "service:glance",
        "swift_store_key": "k",
        "swift_store_container": "glance",
    },
}
SWIFT = "keystone.example/v3"


@pytest.mark.parametrize(
    ("kind", "uri", "within"),
    [
        ("file", "file:///images/1", True),
        ("file", "filesystem:///images/1", True),
        ("file", "file:///images/../etc/passwd", False),
        ("file", "file:///images/deeper/1", False),
        ("file", "file:///etc/passwd", False),
        ("http", "http://anywhere.example/1", True),  # which is why it has to be named
        ("s3", "s3+https://s3.example/images/1", True),
        ("s3", "s3://key:se/cret@s3.example/images/1", True),
        ("s3", "s3+https://renamed.example/images/1", True),  # the configured host is asked
        ("s3", "s3+https://s3.example/backups/1", False),
        ("s3", "s3+https://s3.example/images/../1", False),
        ("rbd", "rbd://1", True),
        ("rbd", "rbd://f51d/images/1/snap", True),
        ("rbd", "rbd://f51d/volumes/1/snap", False),
        ("rbd", "rbd://f51d/images/1", False),
        ("swift", f"swift+https://service%3Aglance:k@{SWIFT}/glance/1", True),
        ("swift", f"swift+https://{SWIFT}/glance/1", True),
        ("swift", f"swift+https://service%3Aglance:k@{SWIFT}/glance_3a/1", True),
        ("swift", f"swift+https://service%3Aglance:k@{SWIFT}/backups/1", False),
        ("swift", "swift+https://service%3Aglance:k@evil.example/v3/glance/1", False),
        ("swift", "swift+config://other/glance/1", False),
        ("swift", "swift+https://nothing", False),
    ],
)
def test_only_its_own_place_is_within_a_store(kind: str, uri: str, within: bool) -> None:
    options, location = KINDS[kind](OPTIONS[kind]), Location(uri)
    assert is_of_kind(options, location)
    assert is_within(options, location) is within


def test_a_store_of_the_callers_own_accounts_has_nothing_within() -> None:
    options = KINDS["swift"]({**OPTIONS["swift"], "swift_store_multi_tenant": "true"})
    assert not is_within(options, Location("swift+https://swift.example/v1/AUTH_1/glance/1"))


def test_another_kind_is_another_store() -> None:
    assert not is_of_kind(MemoryOptions(), Location("file:///1"))
    assert is_within(MemoryOptions(), Location("memory:///1"))
