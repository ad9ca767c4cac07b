"""Tokens of signed URLs: in memory, for so long and so many."""

from __future__ import annotations

import asyncio

import pytest

from cacheproxy import grantcredentials
from cacheproxy.grantcredentials import BYTES_MAX, GrantCredentials, credentials

TOKEN = [("X-Auth-Token", "secret")]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_they_are_replaced_and_forgotten() -> None:
    known = GrantCredentials(Clock())
    assert known.get("a") is None
    known.put("a", TOKEN, 200)
    known.put("a", [("X-Auth-Token", "new")], 200)
    assert known.get("a") == [("X-Auth-Token", "new")]
    known.forget("a")
    known.forget("a")
    assert known.get("a") is None
    assert known._bytes == 0


def test_they_go_when_their_url_has_ended() -> None:
    clock = Clock()
    known = GrantCredentials(clock)
    known.put("a", TOKEN, 101)
    known.put("b", TOKEN, 200)
    clock.now = 101
    known.put("c", TOKEN, 300)
    assert [known.get(name) for name in "abc"] == [None, TOKEN, TOKEN]


def test_the_longest_unused_go_first() -> None:
    known = GrantCredentials(Clock())
    long = [("X-Auth-Token", "x" * (BYTES_MAX // 3))]
    known.put("a", long, 200)
    known.put("b", long, 200)
    known.get("a")
    known.put("c", long, 200)
    assert [known.get(name) is None for name in "abc"] == [False, True, False]
    assert known._bytes <= BYTES_MAX


async def test_another_worker_tells_them_a_little_later() -> None:
    known = GrantCredentials(Clock())
    waiting = [asyncio.create_task(known.arrived("a")) for _ in range(3)]
    await asyncio.sleep(0)
    gone = waiting.pop()
    gone.cancel()
    await asyncio.wait([gone])
    known.put("b", TOKEN, 200)
    known.put("a", TOKEN, 200)
    assert await asyncio.gather(*waiting) == [TOKEN, TOKEN]
    assert await known.arrived("a") == TOKEN
    assert not known._awaited


async def test_or_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grantcredentials, "_TOLD_SECONDS_MAX", 0.01)
    known = GrantCredentials(Clock())
    assert await known.arrived("a") is None
    assert not known._awaited


def test_what_counts_as_credentials() -> None:
    asked = [
        *(("Host", "node"), ("x-auth-token", "secret"), ("X-Service-Token", "other")),
        *(("X-OpenStack-Request-ID", "req-1"), ("Content-Type", "application/json")),
        *(("Authorization", "Basic x"), ("Range", "bytes=0-")),
    ]
    assert [name for name, _ in credentials(asked)] == [
        *("x-auth-token", "X-Service-Token", "Authorization"),
    ]


def test_nothing_is_shown() -> None:
    known = GrantCredentials(Clock())
    known.put("a", TOKEN, 200)
    assert "secret" not in repr(known) + repr(known._known)
