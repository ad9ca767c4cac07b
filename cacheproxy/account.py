"""The proxy's own account in Keystone: a token for what no caller asks for.

keystoneauth1 does the talking; it blocks, so it has a thread, one at a time.  Rules:

1. A token is kept until it is about to expire, or the upstream refused it.
2. Those who need one at the same time wait for the same question.
3. After a failure Keystone is left alone for `RETRY_SECONDS`: who asks meanwhile gets the failure.
4. No message holds a credential.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cacheproxy.config import ServiceUserSettings
from cacheproxy.errors import AccountError
from cacheproxy.headers import Headers

RETRY_SECONDS = 10.0
STALE_SECONDS = 120.0  # a token with less left is not used for a long transfer


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when it ends."""

    value: str = field(repr=False)
    expires: datetime


class Account:
    """Gives the headers of the proxy's own account; belongs to one loop."""

    def __init__(
        self,
        settings: ServiceUserSettings,
        log_in: Callable[[ServiceUserSettings], Token] | None = None,
    ) -> None:
        self._settings = settings
        self._log_in = log_in or _log_in
        self._token: Token | None = None
        self._asking: asyncio.Task[Token] | None = None
        self._failure: AccountError | None = None
        self._failed_at = -RETRY_SECONDS

    def __repr__(self) -> str:
        return f"<Account {self._settings.auth_url or 'none'}>"

    @property
    def configured(self) -> bool:
        """Whether there is an account at all."""
        return bool(self._settings.auth_url)

    async def headers(self) -> Headers:
        """Return headers that carry a valid token; `AccountError` if there is none to be had."""
        token = self._token
        if token is None or (token.expires - datetime.now(UTC)).total_seconds() < STALE_SECONDS:
            token = await self._ask()
        return [("X-Auth-Token", token.value)]

    def refused(self, headers: Headers) -> None:
        """The upstream did not take this token: it was revoked, or Keystone's keys were changed."""
        if self._token is not None and ("X-Auth-Token", self._token.value) in headers:
            self._token = None

    async def close(self) -> None:
        """Give up a question in progress; its thread ends with its own time-out."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self) -> Token:
        if not self.configured:
            raise AccountError("the proxy has no account: [service_user] auth_url is not set")
        if self._asking is None:
            if self._failure is not None and time.monotonic() - self._failed_at < RETRY_SECONDS:
                raise self._failure
            self._asking = asyncio.create_task(self._renew(), name="log in")
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    async def _renew(self) -> Token:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                self._token = await asyncio.to_thread(self._log_in, self._settings)
        except TimeoutError:
            self._fail(AccountError("Keystone does not answer"))
            raise self._failure from None  # type: ignore[misc]  # just set
        except AccountError as error:
            self._fail(error)
            raise
        self._failure = None
        return self._token

    def _fail(self, error: AccountError) -> None:
        self._failure, self._failed_at = error, time.monotonic()

    def _asked(self, asking: asyncio.Task[Token]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # looked at here, should everybody who waited be gone


def _log_in(settings: ServiceUserSettings) -> Token:
    """In a thread: get a token."""
    # Imported only where an account is configured: it brings requests and its whole family.
    from keystoneauth1 import session as sessions  # noqa: PLC0415
    from keystoneauth1.exceptions import ClientException  # noqa: PLC0415
    from keystoneauth1.identity import v3  # noqa: PLC0415

    plugin: v3.ApplicationCredential | v3.Password
    if settings.application_credential_id:
        plugin = v3.ApplicationCredential(
            auth_url=settings.auth_url,
            application_credential_id=settings.application_credential_id,
            application_credential_secret=settings.application_credential_secret,
        )
    else:
        plugin = v3.Password(
            auth_url=settings.auth_url,
            username=settings.username,
            password=settings.password,
            user_domain_name=settings.user_domain_name,
            project_name=settings.project_name,
            project_domain_name=settings.project_domain_name,
        )
    session = sessions.Session(
        auth=plugin,
        verify=settings.cafile or True,
        timeout=settings.timeout_seconds,
        app_name="cacheproxy",
    )
    try:
        access = plugin.get_access(session)
    except (ClientException, OSError) as error:
        raise AccountError(f"no token from {settings.auth_url}: {type(error).__name__}") from None
    if access.auth_token is None or access.expires is None:
        raise AccountError(f"no token from {settings.auth_url}: an answer without one")
    return Token(access.auth_token, access.expires)
