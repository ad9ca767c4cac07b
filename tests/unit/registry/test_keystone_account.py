"""The catalog's own account: one log-in at a time, tokens kept while they are good."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from harness.tokens import NumberedTokens
from registry.domain.errors import UnavailableError
from registry.errors import ConfigError
from registry.keystone.account import RETRY_SECONDS, STALE_SECONDS, Access, Account, load_plugin
from registry.keystone.options import KeystoneSettings

SETTINGS = KeystoneSettings(
    "http://keystone.example/v3", login={"username": "glance", "password": "open sesame"}
)


def numbered(seconds: float = 3600.0) -> NumberedTokens[Access]:
    def access(token: str, ends: datetime) -> Access:
        return Access(token, "http://keystone.example/v3", ends)

    return NumberedTokens(access, UnavailableError("no token"), seconds)


async def test_one_log_in_for_all_who_wait() -> None:
    keystone = numbered()
    keystone.open.clear()
    account = Account(SETTINGS, keystone)
    waiting = [asyncio.create_task(account.access()) for _ in range(5)]
    await asyncio.sleep(0)
    keystone.open.set()
    assert {access.token for access in await asyncio.gather(*waiting)} == {"token-1"}
    assert (await account.access()).token == "token-1"
    assert keystone.asked == 1
    await account.aclose()


async def test_a_token_that_ends_soon_is_replaced() -> None:
    account = Account(SETTINGS, numbered(STALE_SECONDS - 1))
    assert [(await account.access()).token for _ in range(2)] == ["token-1", "token-2"]


async def test_a_refused_token_is_replaced_but_not_its_successor() -> None:
    account = Account(SETTINGS, numbered())
    first = await account.access()
    assert (await account.access(refused=first)).token == "token-2"
    assert (await account.access(refused=first)).token == "token-2"


async def test_after_a_failure_keystone_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    keystone = numbered()
    keystone.failing = True
    account = Account(SETTINGS, keystone)
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await account.access()
    assert keystone.asked == 1
    keystone.failing = False
    monkeypatch.setattr(account, "_failed_at", account._failed_at - RETRY_SECONDS)
    assert (await account.access()).token == "token-2"


async def test_who_waits_too_long_is_told_so() -> None:
    keystone = numbered()
    keystone.open.clear()
    account = Account(KeystoneSettings(SETTINGS.auth_url, request_seconds=0), keystone)
    with pytest.raises(UnavailableError, match="does not answer"):
        await account.access()
    keystone.open.set()
    await account.aclose()


def test_nothing_shows_a_credential() -> None:
    shown = f"{SETTINGS!r} {Account(SETTINGS)!r} {Access('sesame', 'url', datetime.now(UTC))!r}"
    assert "sesame" not in shown


def test_what_keystoneauth_misses_is_told() -> None:
    settings = KeystoneSettings(
        "http://k/v3", "v3password", login={"username": "n", "password": "sesame"}
    )
    with pytest.raises(ConfigError, match=r"\[keystone_authtoken\].*domain") as told:
        load_plugin(settings)
    assert "sesame" not in str(told.value)
