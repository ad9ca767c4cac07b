"""Whose token it is: one question at a time, good answers kept while they are true, no answer is no no."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from registry.domain.errors import UnavailableError
from registry.keystone import tokens as module
from registry.keystone.token import AccessRule, Token, parse_token
from registry.keystone.tokens import Tokens


def token(seconds: float = 3600, **changes: Any) -> Token:
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    fields: dict[str, Any] = {"user_id": "u", "user_domain_id": "d", "expires": ends}
    return Token(**{**fields, **changes})


@dataclass
class FakeKeystone:
    """Knows some tokens, once `open` is set."""

    found: dict[str, Token]
    asked: list[tuple[str, bool]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    failing: bool = False

    async def __call__(self, token: str, *, allow_expired: bool) -> Token | None:
        self.asked.append((token, allow_expired))
        await self.open.wait()
        if self.failing:
            raise UnavailableError("Keystone answers 500")
        known = self.found.get(token)
        return known if known is not None and (allow_expired or known.left() > 0) else None


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(**found: Token) -> FakeKeystone:
    keystone = FakeKeystone(found)
    keystone.open.set()
    return keystone


async def test_one_question_for_all_who_wait_and_then_none_for_a_while() -> None:
    keystone, clock = FakeKeystone({"t": token()}), Clock()
    tokens = Tokens(keystone, 60, 30, clock)
    waiting = [asyncio.create_task(tokens.find("t")) for _ in range(5)]
    await asyncio.sleep(0)
    keystone.open.set()
    assert await asyncio.gather(*waiting) == [keystone.found["t"]] * 5
    clock.now += 59
    assert await tokens.find("t") == keystone.found["t"]
    assert len(keystone.asked) == 1
    clock.now += 1
    await tokens.find("t")
    assert len(keystone.asked) == 2


async def test_who_leaves_takes_the_question_from_nobody() -> None:
    keystone = FakeKeystone({"t": token()})
    tokens = Tokens(keystone, 60, 30)
    leaving, staying = (asyncio.create_task(tokens.find("t")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait({leaving})
    keystone.open.set()
    assert await staying == keystone.found["t"]
    assert len(keystone.asked) == 1


async def test_a_slow_answer_holds_up_nobody_else() -> None:
    keystone = opened(known=token())
    tokens = Tokens(keystone, 60, 30)
    await tokens.find("known")
    keystone.open.clear()
    waiting = asyncio.create_task(tokens.find("slow"))
    await asyncio.sleep(0)
    assert await tokens.find("known") is not None
    assert not waiting.done()
    await tokens.aclose()
    assert waiting.cancelled() or await asyncio.gather(waiting, return_exceptions=True)


async def test_only_good_tokens_are_remembered() -> None:
    keystone = opened()
    tokens = Tokens(keystone, 60, 30)
    assert await tokens.find("bad") is None
    assert await tokens.find("bad") is None
    assert len(keystone.asked) == 2
    assert await tokens.find("b\xe4d") is None
    assert await tokens.find("b\udce4d") is None
    assert len(keystone.asked) == 2  # not even asked about
    assert tokens._known == {}


async def test_no_answer_is_not_remembered_either() -> None:
    keystone = opened(t=token())
    keystone.failing = True
    tokens = Tokens(keystone, 60, 30)
    with pytest.raises(UnavailableError):
        await tokens.find("t")
    keystone.failing = False
    assert await tokens.find("t") is not None


async def test_a_question_without_an_answer_ends() -> None:
    tokens = Tokens(FakeKeystone({}), 60, 0.0)
    with pytest.raises(UnavailableError, match="does not answer"):
        await tokens.find("t")
    assert tokens._asking == {}


async def test_a_token_is_not_believed_beyond_its_end() -> None:
    keystone, clock = opened(t=token(5)), Clock()
    tokens = Tokens(keystone, 60, 30, clock)
    await tokens.find("t")
    clock.now += 5
    await tokens.find("t")
    assert len(keystone.asked) == 2


async def test_one_that_has_ended_is_for_services_only() -> None:
    keystone = opened(t=token(-10))
    tokens = Tokens(keystone, 60, 30)
    assert await tokens.find("t") is None
    assert await tokens.find("t", allow_expired=True) == keystone.found["t"]
    assert await tokens.find("t", allow_expired=True) == keystone.found["t"]
    assert await tokens.find("t") is None  # though it is remembered
    assert keystone.asked == [("t", False), ("t", True)]


async def test_without_a_cache_every_request_asks() -> None:
    keystone = opened(t=token())
    tokens = Tokens(keystone, -1, 30)
    await tokens.find("t")
    await tokens.find("t")
    assert len(keystone.asked) == 2


async def test_the_longest_unused_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKENS_MAX", 2)
    keystone = opened(a=token(), b=token(), c=token())
    tokens = Tokens(keystone, 60, 30)
    for name in ("a", "b", "a", "c", "a"):
        await tokens.find(name)
    assert [name for name, _ in keystone.asked] == ["a", "b", "c"]
    await tokens.find("b")
    assert len(keystone.asked) == 4


async def test_there_are_never_too_many_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 1)
    tokens = Tokens(FakeKeystone({}), 60, 30)
    waiting = asyncio.create_task(tokens.find("a"))
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="Too many"):
        await tokens.find("b")
    await tokens.aclose()
    await asyncio.wait({waiting})


async def test_nothing_that_is_kept_or_shown_holds_a_token() -> None:
    tokens = Tokens(opened(secret=token()), 60, 30)
    await tokens.find("secret")
    assert "secret" not in repr(tokens) + repr(tokens._known)


ANSWER = b"""{"token": {"methods": ["password"], "user": {"id": "u", "name": "n", "domain":
{"id": "ud", "name": "D"}}, "audit_ids": ["x"], "expires_at": "2026-01-01T00:00:00.000000Z",
"issued_at": "2025-12-31T00:00:00.000000Z", %s}}"""


def test_a_token_for_a_project() -> None:
    more = b"""
    "project": {"id": "p", "name": "P", "domain": {"id": "pd", "name": "D"}}, "is_domain": false,
    "roles": [{"id": "1", "name": "Member"}, {"id": "2", "name": "reader"}]"""
    assert parse_token(ANSWER % more) == Token(
        user_id="u",
        user_domain_id="ud",
        expires=datetime(2026, 1, 1, tzinfo=UTC),
        project_id="p",
        project_domain_id="pd",
        roles=frozenset({"member", "reader"}),
    )


@pytest.mark.parametrize(
    ("more", "domain", "system"),
    [
        (b'"domain": {"id": "d", "name": "D"}', "d", None),
        (b'"system": {"all": true}', None, "all"),
        (b'"is_admin_project": true', None, None),
    ],
)
def test_other_tokens(more: bytes, domain: str | None, system: str | None) -> None:
    found = parse_token(ANSWER % more)
    assert (found.project_id, found.domain_id, found.system_scope) == (None, domain, system)
    assert found.roles == frozenset()


@pytest.mark.parametrize("text", [b"", b"{}", b'{"token": {}}', ANSWER % b'"roles": 1'])
def test_what_is_no_answer(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_token(text)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/v2/images", "/v2/images", True),
        ("/v2/images", "/v2/images/x", False),
        ("/v2/images/{id}", "/v2/images/x", True),
        ("/v2/images/*", "/v2/images/x", True),
        ("/v2/images/*", "/v2/images/x/file", False),
        ("/v2/images/*/file", "/v2/images/x/file", True),
        ("/v2/**", "/v2/images/x/file", True),
        ("/v2.images", "/v2/images", False),
        ("/v2/{", "/v2/{", True),
    ],
)
def test_rules_of_application_credentials(pattern: str, path: str, matches: bool) -> None:
    rule = AccessRule("image", "GET", pattern)
    assert rule.matches("GET", path) is matches
    assert not rule.matches("PUT", path)
