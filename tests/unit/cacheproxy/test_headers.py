"""Which header fields travel on."""

from __future__ import annotations

import pytest

from cacheproxy.headers import HOP_BY_HOP, end_to_end, relayed

TOKENS = [("X-Auth-Token", "user"), ("X-Service-Token", "service")]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_a_hop_by_hop_field_ends_here_however_it_is_spelt(name: str) -> None:
    assert relayed([(name.title(), "x"), ("Accept", "*/*"), (name.upper(), "y")]) == [
        ("Accept", "*/*")
    ]


def test_fields_named_by_any_connection_field_end_here() -> None:
    headers = [
        ("Connection", "close, X-One"),
        ("X-One", "1"),
        ("x-two", "2"),
        ("X-Three", "3"),
        ("connection", " X-TWO ,"),
    ]
    assert relayed(headers) == [("X-Three", "3")]


def test_everything_else_travels_in_order_with_repeats_and_values_as_they_came() -> None:
    headers = [("A", " 1"), *TOKENS, ("B", ""), ("A", "2"), ("Range", "bytes=0-"), ("A", "1")]
    assert relayed(headers) == headers


def test_repeats_take_the_spelling_of_their_first() -> None:
    assert relayed([("Set-Cookie", "a"), ("set-cookie", "b")]) == [
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
    ]


def test_more_names_can_be_dropped() -> None:
    assert relayed([("Host", "x"), ("Accept", "y")], "host") == [("Accept", "y")]


def test_an_own_question_keeps_who_asks_and_drops_what_was_asked() -> None:
    headers = [
        ("Host", "127.0.0.1"),
        ("Range", "bytes=0-1"),
        ("If-Range", '"x"'),
        ("If-None-Match", "*"),
        ("If-Match", "*"),
        ("If-Modified-Since", "x"),
        ("If-Unmodified-Since", "x"),
        ("Content-Range", "bytes 0-1/2"),
        ("Content-Length", "5"),
        ("Content-Encoding", "gzip"),
        ("Transfer-Encoding", "chunked"),
        ("Expect", "100-continue"),
        ("Accept-Encoding", "gzip, br"),
        ("Connection", "keep-alive"),
        ("X-OpenStack-Request-ID", "req-1"),
        ("User-Agent", "python-glanceclient"),
        ("Content-Type", "application/octet-stream"),
        *TOKENS,
    ]
    assert end_to_end(headers) == [
        ("X-OpenStack-Request-ID", "req-1"),
        ("User-Agent", "python-glanceclient"),
        ("Content-Type", "application/octet-stream"),
        *TOKENS,
        ("Accept-Encoding", "identity"),
    ]
