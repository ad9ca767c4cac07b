"""Glance's list of versions, with and without a cache."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cacheproxy.versions import with_cache


def listing(*names: str, current: str) -> bytes:
    link = {"rel": "self", "href": "http://glance.example/v2/"}
    versions = [
        {"id": name, "status": "CURRENT" if name == current else "SUPPORTED", "links": [link]}
        for name in names
    ]
    return json.dumps({"versions": versions}).encode()


def test_the_cache_s_versions_are_added_where_glance_would_list_them() -> None:
    without = listing("v2.15", "v2.13", "v2.9", "v2.17", "v2.7", current="v2.17")
    wanted = listing(
        *("v2.18", "v2.17", "v2.16", "v2.15", "v2.14", "v2.13", "v2.9", "v2.7"), current="v2.18"
    )
    assert json.loads(with_cache(without)) == json.loads(wanted)


def test_a_newer_glance_stays_newer() -> None:
    newer = listing("v2.20", "v2.18", "v2.15", current="v2.20")
    versions: list[Any] = json.loads(with_cache(newer))["versions"]
    assert [(each["id"], each["status"]) for each in versions] == [
        ("v2.20", "CURRENT"),
        ("v2.18", "SUPPORTED"),
        ("v2.16", "SUPPORTED"),
        ("v2.15", "SUPPORTED"),
        ("v2.14", "SUPPORTED"),
    ]


@pytest.mark.parametrize(
    "document",
    [
        listing("v2.18", "v2.16", "v2.14", "v2.0", current="v2.18"),
        b"",
        b"<html>",
        b"[]",
        b'{"versions": []}',
        b'{"versions": [1]}',
        b'{"versions": {"values": []}}',
        b'{"versions": [{"id": 3}]}',
        b'{"versions": [{"id": "v2.x"}, {"id": null}]}',
    ],
)
def test_what_needs_nothing_and_what_is_no_list_stays(document: bytes) -> None:
    assert with_cache(document) == document
