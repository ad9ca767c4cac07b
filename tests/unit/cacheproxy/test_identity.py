"""Whose token it is: one question at a time, answers kept for seconds, no answer is no yes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cacheproxy import identity as module
from cacheproxy.config import KeystoneSettings
from cacheproxy.errors import IdentityError
from cacheproxy.identity import Identities, Identity
from harness.raw_origin import Peer, raw_origin

SETTINGS = KeystoneSettings(auth_url="http://keystone.example:5000/v3", token_seconds=60)
LATER = datetime.now(UTC) + timedelta(hours=1)


def somebody(**changes: object) -> Identity:
    fields: dict[str, object] = {
        "user_id": "u",
        "project_id": "p",
        "roles": frozenset({"member"}),
        "expires": LATER,
    }
    return Identity(**{**fields, **changes})  # type: ignore[arg-type]  # fields of its own


class FakeKeystone:
    """Knows one token, once `open` is set."""

    def __init__(self, found: Identity | None) -> None:
        self.found = found
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failing = False

    async def __call__(self, token: str) -> Identity | None:
        self.asked.append(token)
        await self.open.wait()
        if self.failing:
            raise IdentityError("Keystone answers 500")
        return self.found


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_equal_questions_are_asked_once_and_believed_for_seconds() -> None:
    keystone, clock = FakeKeystone(somebody()), Clock()
    keystone.open.clear()
    identities = Identities(SETTINGS, keystone, clock)
    waiting = [asyncio.create_task(identities.of("t")) for _ in range(5)]
    await asyncio.sleep(0)
    keystone.open.set()
    assert await asyncio.gather(*waiting) == [somebody()] * 5
    clock.now += 59
    assert await identities.of("t") == somebody()
    assert keystone.asked == ["t"]
    clock.now += 1
    assert await identities.of("t") == somebody()
    assert keystone.asked == ["t", "t"]
    await identities.close()


async def test_a_token_is_not_believed_beyond_its_own_end() -> None:
    clock = Clock()
    keystone = FakeKeystone(somebody(expires=datetime.now(UTC) + timedelta(seconds=5)))
    identities = Identities(SETTINGS, keystone, clock)
    await identities.of("t")
    clock.now += 5
    await identities.of("t")
    assert len(keystone.asked) == 2


async def test_no_token_is_remembered_too_but_for_a_shorter_while() -> None:
    keystone, clock = FakeKeystone(None), Clock()
    identities = Identities(SETTINGS, keystone, clock)
    assert await identities.of("t") is None
    assert await identities.of("t") is None
    clock.now += module.NOBODY_SECONDS
    assert await identities.of("t") is None
    assert len(keystone.asked) == 2


async def test_no_answer_is_an_error_and_is_not_remembered() -> None:
    keystone = FakeKeystone(somebody())
    keystone.failing = True
    identities = Identities(SETTINGS, keystone)
    with pytest.raises(IdentityError, match="500"):
        await identities.of("t")
    keystone.failing = False
    assert await identities.of("t") == somebody()
    assert identities._asking == {}


async def test_a_silent_keystone_is_not_waited_for() -> None:
    keystone = FakeKeystone(somebody())
    keystone.open.clear()
    identities = Identities(KeystoneSettings(auth_url="http://x", timeout_seconds=0.01), keystone)
    with pytest.raises(IdentityError, match="does not answer"):
        await identities.of("t")
    assert identities._asking == {}


async def test_questions_and_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUESTIONS_MAX", 2)
    monkeypatch.setattr(module, "TOKENS_MAX", 3)
    keystone = FakeKeystone(somebody())
    keystone.open.clear()
    identities = Identities(SETTINGS, keystone)
    waiting = [asyncio.create_task(identities.of(token)) for token in "ab"]
    await asyncio.sleep(0)
    with pytest.raises(IdentityError, match="too many"):
        await identities.of("c")
    keystone.open.set()
    await asyncio.gather(*waiting)
    for token in "cde":
        await identities.of(token)
    assert len(identities._known) == 3
    await identities.of("e")
    assert keystone.asked == list("abcde")
    await identities.of("a")
    assert keystone.asked[-1] == "a"


async def test_the_memory_holds_no_token() -> None:
    identities = Identities(SETTINGS, FakeKeystone(somebody()))
    await identities.of("gAAAAAsecret")
    (key,) = identities._known
    assert b"secret" not in key
    assert "secret" not in f"{identities!r}{identities._known}"


async def test_who_must_not_wait_is_told_later() -> None:
    keystone = FakeKeystone(somebody())
    keystone.open.clear()
    identities = Identities(SETTINGS, keystone)
    told: list[Identity | None] = []
    done = asyncio.Event()

    def then(identity: Identity | None) -> None:
        told.append(identity)
        done.set()

    identities.tell("t", then)
    identities.tell(None, told.append)
    assert told == [None]
    keystone.open.set()
    await done.wait()
    assert told == [None, somebody()]
    identities.tell("t", told.append)  # known by now
    assert told.pop() == somebody()
    keystone.failing = True
    done.clear()
    identities.tell("another", then)
    await done.wait()
    assert told == [None, somebody(), None]
    await identities.close()


async def test_who_waits_to_be_told_is_bounded_and_told_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TOLD_LATER_MAX", 1)
    keystone = FakeKeystone(somebody())
    keystone.open.clear()
    identities = Identities(SETTINGS, keystone)
    told: list[Identity | None] = []
    identities.tell("t", told.append)
    identities.tell("t", told.append)
    assert told == [None]
    await identities.close()
    assert told == [None, None]
    assert identities._telling == set()


@pytest.mark.parametrize(
    ("roles", "project", "admin"),
    [
        ({"admin"}, "p", True),
        ({"admin"}, None, False),
        ({"member", "manager"}, "p", False),
    ],
)
def test_who_is_an_administrator(roles: set[str], project: str | None, admin: bool) -> None:
    assert somebody(roles=frozenset(roles), project_id=project).is_admin is admin


# --- Keystone itself ------------------------------------------------------------------------------

TOKEN = (
    b'{"token": {"user": {"id": "u"}, "expires_at": "%d-01-01T00:00:00.000000Z",'
    b' "project": {"id": "p"}, "roles": [{"id": "1", "name": "Admin"}], "methods": []}}'
    % (datetime.now(UTC).year + 1)
)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, TOKEN, None),
        (401, b"", None),
        (404, b"", None),
        (403, b"", "answers 403"),
        (500, b"", "answers 500"),
        (302, b"", "answers 302"),
        (200, b"<html>", "cannot be read"),
        (200, b'{"token": {"user": {"id": "u"}}}', "cannot be read"),
        (200, b" " * (module.ANSWER_BYTES_MAX + 1), "more than"),
    ],
)
async def test_what_keystone_answers(status: int, body: bytes, error: str | None) -> None:
    async def answer(peer: Peer) -> None:
        await peer.request()
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nLocation: /\r\n\r\n"
        await peer.send(head.encode() + body)

    async with raw_origin(answer) as keystone:
        identities = Identities(KeystoneSettings(auth_url=keystone.url))
        outcome: object = None
        try:
            outcome = await identities.of("gAAAAAsecret")
        except IdentityError as raised:
            outcome = str(raised)
        await identities.close()
    if error is not None:
        assert error in str(outcome)
        assert "secret" not in str(outcome)
    elif status == 200:
        assert isinstance(outcome, Identity)
        assert (outcome.user_id, outcome.project_id, outcome.is_admin) == ("u", "p", True)
    else:
        assert outcome is None
    (request,) = keystone.requests
    assert request.target == "/v3/auth/tokens?nocatalog"
    assert request.one("x-auth-token") == request.one("x-subject-token") == "gAAAAAsecret"


async def test_keystone_is_not_there(unused_tcp_port: int) -> None:
    identities = Identities(KeystoneSettings(auth_url=f"http://127.0.0.1:{unused_tcp_port}/v3/"))
    for token in ("gAAAAAsecret", "a\nheader: forged"):
        with pytest.raises(IdentityError, match="cannot be asked") as told:
            await identities.of(token)
        assert token not in str(told.value)
    await identities.close()
