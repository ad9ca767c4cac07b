"""The proxy's own account: one question at a time, tokens kept while they are good."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from cacheproxy.account import RETRY_SECONDS, STALE_SECONDS, Account, Token
from cacheproxy.config import ServiceUserSettings
from cacheproxy.errors import AccountError
from harness.tokens import NumberedTokens

SETTINGS = ServiceUserSettings(
    auth_url="http://keystone.example/v3", username="cacheproxy", password="open sesame"
)


def numbered(seconds: float = 3600.0) -> NumberedTokens[Token]:
    return NumberedTokens(Token, AccountError("no token"), seconds)


async def test_a_token_is_asked_for_once_and_kept() -> None:
    keystone = numbered()
    keystone.open.clear()
    account = Account(SETTINGS, keystone)
    waiting = [asyncio.create_task(account.headers()) for _ in range(5)]
    await asyncio.sleep(0)
    keystone.open.set()
    assert await asyncio.gather(*waiting) == [[("X-Auth-Token", "token-1")]] * 5
    assert await account.headers() == [("X-Auth-Token", "token-1")]
    assert keystone.asked == 1
    await account.close()


async def test_a_token_that_is_about_to_expire_is_replaced() -> None:
    keystone = numbered(STALE_SECONDS - 1)
    account = Account(SETTINGS, keystone)
    assert await account.headers() == [("X-Auth-Token", "token-1")]
    assert await account.headers() == [("X-Auth-Token", "token-2")]


async def test_a_refused_token_is_replaced_but_not_its_successor() -> None:
    account = Account(SETTINGS, numbered())
    first = await account.headers()
    account.refused(first)
    second = await account.headers()
    assert second != first
    account.refused(first)  # somebody was slow
    assert await account.headers() == second


async def test_after_a_failure_keystone_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("cacheproxy.account.time.monotonic", lambda: now)
    keystone = numbered()
    keystone.failing = True
    account = Account(SETTINGS, keystone)
    for _ in range(3):
        with pytest.raises(AccountError):
            await account.headers()
    assert keystone.asked == 1
    keystone.failing = False
    now += RETRY_SECONDS
    assert await account.headers() == [("X-Auth-Token", "token-2")]


async def test_who_gives_up_waiting_does_not_take_the_question_along() -> None:
    keystone = numbered()
    keystone.open.clear()
    account = Account(SETTINGS, keystone)
    impatient = asyncio.create_task(account.headers())
    patient = asyncio.create_task(account.headers())
    await asyncio.sleep(0)
    impatient.cancel()
    keystone.open.set()
    assert await patient == [("X-Auth-Token", "token-1")]
    assert impatient.cancelled()


async def test_a_keystone_that_hangs_is_waited_for_within_bounds() -> None:
    keystone = numbered()
    keystone.open.clear()
    settings = ServiceUserSettings(auth_url="http://keystone.example/v3", timeout_seconds=0.01)
    account = Account(settings, keystone)
    with pytest.raises(AccountError, match="does not answer"):
        await account.headers()
    keystone.open.set()


async def test_without_an_account_nobody_is_asked() -> None:
    account = Account(ServiceUserSettings())
    assert not account.configured
    with pytest.raises(AccountError, match="auth_url"):
        await account.headers()


async def test_nothing_printed_holds_a_credential() -> None:
    account = Account(SETTINGS, numbered())
    headers = await account.headers()
    printed = f"{account!r} {SETTINGS!r} {Token('token-1', datetime.now(UTC))!r}"
    assert "sesame" not in printed
    assert headers[0][1] not in printed
