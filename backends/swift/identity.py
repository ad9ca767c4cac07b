"""Who a request to Swift comes from: an account of our own at Keystone, or whoever called us.

Keystone is asked with keystoneauth1, which blocks: in a thread, once for all who wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from keystoneauth1 import exceptions
from keystoneauth1.access import AccessInfo
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from backends.answers import kind_of
from backends.errors import DeniedError, InvalidError, StoreError, UnavailableError
from backends.swift.options import SwiftAccount, SwiftOptions

# Not "no such image": the address is not Keystone's.
_KINDS: dict[int, type[StoreError]] = dict.fromkeys(
    (HTTPStatus.NOT_FOUND, HTTPStatus.GONE), InvalidError
)


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """A token, and the storage URL that it opens.  One that is refused is known by its identity."""

    token: str = field(repr=False)
    url: str


class Identity(Protocol):
    """Gives out what requests need."""

    renews: bool  # whether there is another token when one has ended

    async def access(self, refused: Access | None = None) -> Access:
        """Return a token and where to go with it, another one than `refused`."""

    async def aclose(self) -> None:
        """Forget everything."""


class Caller:
    """Somebody who gave us a token, and has no other: DeniedError when that is refused."""

    renews = False

    def __init__(self, token: str, url: str) -> None:
        self._access = Access(token, url)

    def __repr__(self) -> str:
        return f"Caller({self._access.url})"

    async def access(self, refused: Access | None = None) -> Access:
        """Return the caller's token."""
        if refused is self._access:
            raise DeniedError(f"{self._access.url}: the caller's token is refused")
        return self._access

    async def aclose(self) -> None:
        """Nothing is held."""


class KeystoneAccount:
    """An account of Keystone's version 3; a token is kept until it is about to end, or refused."""

    renews = True

    def __init__(
        self, account: SwiftAccount, options: SwiftOptions, trust: str = "", url: str | None = None
    ) -> None:
        """Log in as the account; as who made a `trust` if there is one, whose Swift is at `url`."""
        self._account = account
        self._options = options
        self._plugin = login_of(account, trust)
        self._url = url or options.endpoint  # instead of the catalog's
        self._access: Access | None = None
        self._info: AccessInfo | None = None
        self._login: asyncio.Task[Access] | None = None

    def __repr__(self) -> str:
        return f"KeystoneAccount({self._account.auth_address})"

    async def access(self, refused: Access | None = None) -> Access:
        """Return a token, a new one if the last is `refused` or ends soon."""
        if self._access is None or self._access is refused or self._ends_soon():
            if self._login is None:
                self._login = asyncio.create_task(self._logged_in())
                self._login.add_done_callback(self._login_ended)
            return await asyncio.shield(self._login)
        return self._access

    async def aclose(self) -> None:
        """Forget the token; waits for a login under way, whose thread cannot be stopped."""
        if self._login is not None:
            await asyncio.wait({self._login})
        self._access = self._info = None

    def _ends_soon(self) -> bool:
        assert self._info is not None
        return self._info.will_expire_soon(self._options.expire_soon_seconds)

    def _login_ended(self, task: asyncio.Task[Access]) -> None:
        self._login = None
        if not task.cancelled():
            task.exception()  # those who wait for it get it; there may be none left

    async def _logged_in(self) -> Access:
        info = await asyncio.to_thread(self._authenticate)
        access = Access(info.auth_token or "", self._url or self._endpoint(info))
        self._access, self._info = access, info
        return access

    def _authenticate(self) -> AccessInfo:
        """Log in.  Blocks."""
        with keystone(self._account, self._options) as session:
            return self._plugin.get_auth_ref(session)

    def _endpoint(self, info: AccessInfo) -> str:
        options = self._options
        try:
            url = info.service_catalog.url_for(
                service_type=options.service_type,
                interface=options.endpoint_type,
                region_name=options.region,
            )
        except exceptions.CatalogException:
            url = None
        if not url or urlsplit(url).scheme not in ("http", "https"):
            raise InvalidError(
                f"{self._account.auth_address}: the catalog has no {options.endpoint_type} of"
                f" {options.service_type} in {options.region or 'any region'}"
            )
        return url


@contextmanager
def keystone(account: SwiftAccount, options: SwiftOptions) -> Iterator[Session]:
    """Yield what asks Keystone, which blocks; its errors are the store's."""
    verify = options.verify_certificates and (str(options.ca_file or "") or True)
    try:
        with requests.Session() as connections:
            connections.hooks["response"].append(_read)
            yield Session(
                session=connections, verify=verify, timeout=options.stall_seconds, redirect=False
            )
    except exceptions.HttpError as error:
        raise _refusal(account, error) from None
    except exceptions.ClientException as error:
        kind = type(error).__name__  # the message may show more than that
        raise UnavailableError(f"{account.auth_address}: {kind}") from None


def _read(response: requests.Response, **_: object) -> None:
    """Read an answer to its end: then who keeps it, as tracebacks do, keeps no connection."""
    if response.content is not None:
        response.raw = None


def url_of(account: SwiftAccount) -> str:
    """Return where the account's Keystone speaks its version 3."""
    address = account.auth_address.rstrip("/")
    if urlsplit(address).scheme not in ("http", "https"):
        address = f"https://{address}"
    return address if address.endswith("/v3") else f"{address}/v3"


def login_of(account: SwiftAccount, trust: str = "") -> v3.Auth:
    """Return how to log in, in its project or for who made a `trust`.

    InvalidError for an account with half of what that needs.
    """
    address = url_of(account)
    if account.application_credential_id and account.application_credential_secret and not trust:
        return v3.ApplicationCredential(
            address,
            application_credential_id=account.application_credential_id,
            application_credential_secret=account.application_credential_secret,
        )
    project, colon, user = account.user.partition(":")
    if not (project and colon and user and account.key) or ":" in user:
        raise InvalidError(
            f"{account.auth_address}: needs PROJECT:USER and a key, or an application credential"
        )
    scope: dict[str, Any] = {"trust_id": trust}
    if not trust:
        scope = {
            "project_name": project,
            "project_domain_id": account.project_domain_id,
            "project_domain_name": account.project_domain_name,
        }
    return v3.Password(
        address,
        username=user,
        password=account.key,
        user_domain_id=account.user_domain_id,
        user_domain_name=account.user_domain_name,
        **scope,
    )


def _refusal(account: SwiftAccount, error: exceptions.HttpError) -> StoreError:
    status = error.http_status
    return kind_of(status, _KINDS)(f"{account.auth_address}: Keystone answers {status}")
