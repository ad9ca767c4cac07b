"""The proxy's own account logs in at the real Keystone."""

from __future__ import annotations

import pytest

from cacheproxy.account import Account
from cacheproxy.config import ServiceUserSettings
from cacheproxy.errors import AccountError
from harness.http import ask
from harness.keystone import GLANCE, Keystone


async def test_by_name_and_password(keystone: Keystone) -> None:
    account = Account(
        ServiceUserSettings(
            auth_url=keystone.url,
            username=GLANCE.name,
            password=GLANCE.password,
            project_name=GLANCE.project,
        )
    )
    ((name, token),) = await account.headers()
    assert name == "X-Auth-Token"
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    answer = ask("GET", f"{keystone.url}/auth/tokens", headers=headers).expect(200)
    assert answer.json()["token"]["user"]["name"] == GLANCE.name
    await account.close()


async def test_a_wrong_password_is_told_without_it(keystone: Keystone) -> None:
    account = Account(
        ServiceUserSettings(auth_url=keystone.url, username=GLANCE.name, password="not this one")
    )
    with pytest.raises(AccountError, match="Unauthorized") as told:
        await account.headers()
    assert "not this one" not in str(told.value)
    await account.close()
