"""Going on for somebody whose token has ended: by a trust, which Keystone makes while it holds.

A trust lets our own account act as its trustor, in one project and with the roles that he has there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from backends.errors import InvalidError, StoreError
from backends.outlasting import finished
from backends.swift.identity import (
    Access,
    Caller,
    Identity,
    KeystoneAccount,
    keystone,
    login_of,
    url_of,
)
from backends.swift.options import SwiftAccount, SwiftOptions

_log = logging.getLogger(__name__)

_TRUST_DAYS = 2  # longer than any upload; one that a crash has left ends then
_FORGET_SECONDS = 60.0  # then a trust is left to its end


class TrustedCaller:
    """A caller, and once his token is refused we in his name."""

    renews = True

    def __init__(self, caller: Caller, login: KeystoneAccount) -> None:
        self._caller = caller
        self._login = login
        self._has_ended = False  # the caller's own token

    def __repr__(self) -> str:
        return f"TrustedCaller({self._caller!r})"

    async def access(self, refused: Access | None = None) -> Access:
        """Return the caller's token, or after its end another one."""
        if refused is not None and refused is await self._caller.access():
            self._has_ended = True
        return await (self._login.access(refused) if self._has_ended else self._caller.access())

    async def aclose(self) -> None:
        """Forget our token."""
        await self._login.aclose()


@asynccontextmanager
async def trusted(
    caller: Caller, account: SwiftAccount, options: SwiftOptions
) -> AsyncIterator[Identity]:
    """Yield who goes on when the caller's token has ended, by a trust that is deleted afterwards.

    Where Keystone makes none, that is the caller himself, as in Glance.  The account needs a user:
    an application credential cannot act by a trust.
    """
    account = replace(account, application_credential_id="", application_credential_secret="")
    access = await caller.access()
    making = asyncio.create_task(asyncio.to_thread(_make, access, account, options))
    identity: Identity = caller
    try:
        try:
            trust = await asyncio.shield(making)
        except StoreError as error:
            _log.warning("an upload ends with its caller's token: no trust was made: %s", error)
        else:
            identity = TrustedCaller(caller, KeystoneAccount(account, options, trust, access.url))
        yield identity
    finally:
        try:
            await finished(_forget(making, identity, account, options), _FORGET_SECONDS)
        except (StoreError, TimeoutError) as error:
            _log.warning("a trust is left for %d days: %s", _TRUST_DAYS, error)
        await identity.aclose()


def _make(access: Access, account: SwiftAccount, options: SwiftOptions) -> str:
    """Make a trust, and return its id.  Blocks."""
    address = url_of(account)
    own = {"X-Auth-Token": access.token}
    with keystone(account, options) as session:
        validated = session.get(
            f"{address}/auth/tokens",
            headers={**own, "X-Subject-Token": access.token},
            authenticated=False,
        )
        trustee = login_of(account).get_auth_ref(session).user_id
        try:
            told = validated.json()["token"]
            trust = {
                "trustor_user_id": told["user"]["id"],
                "trustee_user_id": trustee,
                "project_id": told["project"]["id"],
                "roles": [{"id": role["id"]} for role in told["roles"]],
                "impersonation": True,
                "expires_at": f"{datetime.now(UTC) + timedelta(days=_TRUST_DAYS):%Y-%m-%dT%H:%M:%SZ}",
            }
            made = session.post(
                f"{address}/OS-TRUST/trusts",
                headers=own,
                json={"trust": trust},
                authenticated=False,
            )
            return str(made.json()["trust"]["id"])
        except (ValueError, TypeError, KeyError):
            raise InvalidError(f"{account.auth_address}: not an answer of Keystone's") from None


async def _forget(
    making: asyncio.Task[str], identity: Identity, account: SwiftAccount, options: SwiftOptions
) -> None:
    """Delete the trust, if one was made, also by a call that nobody waited for."""
    await asyncio.wait({making})
    if making.cancelled() or making.exception() is not None:
        return
    access = await identity.access()
    if not await asyncio.to_thread(_delete, making.result(), access, account, options):
        access = await identity.access(refused=access)
        await asyncio.to_thread(_delete, making.result(), access, account, options)


def _delete(trust: str, access: Access, account: SwiftAccount, options: SwiftOptions) -> bool:
    """Delete a trust; return False if the token is refused.  Blocks."""
    with keystone(account, options) as session:
        answer = session.delete(
            f"{url_of(account)}/OS-TRUST/trusts/{trust}",
            headers={"X-Auth-Token": access.token},
            authenticated=False,
            raise_exc=False,
        )
    return answer.status_code != HTTPStatus.UNAUTHORIZED
