"""The catalog's own account in Keystone: with its token, callers' tokens are asked about.

keystoneauth1 logs in; it blocks, so it has a thread, one at a time.  Rules:

1. A token is kept until it is about to end, or Keystone refused it.
2. Those who need one at the same time wait for the same log-in.
3. After a failure Keystone is left alone for `RETRY_SECONDS`: who asks meanwhile gets the failure.
4. No message holds a credential.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from keystoneauth1 import loading
from keystoneauth1.exceptions import CatalogException, ClientException
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.session import Session

from registry.domain.errors import UnavailableError
from registry.errors import ConfigError
from registry.keystone.options import KeystoneSettings

RETRY_SECONDS = 5.0
STALE_SECONDS = 60.0  # a token with less left is renewed before it is used


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """A token of the catalog's own, and the URL of Keystone's version 3."""

    token: str = field(repr=False)
    url: str
    expires: datetime


class Account:
    """Gives out access to Keystone; belongs to one loop."""

    def __init__(
        self,
        settings: KeystoneSettings,
        log_in: Callable[[KeystoneSettings], Access] | None = None,
    ) -> None:
        self._settings = settings
        self._log_in = log_in or _log_in
        self._access: Access | None = None
        self._asking: asyncio.Task[Access] | None = None
        self._failure: UnavailableError | None = None
        self._failed_at = -RETRY_SECONDS

    def __repr__(self) -> str:
        return f"<Account {self._settings.auth_url}>"

    async def access(self, refused: Access | None = None) -> Access:
        """Return a token, another one than `refused`; `UnavailableError` if there is none."""
        known = self._access
        if known is not None and known is not refused and not _ends_soon(known):
            return known
        if self._asking is None:
            if self._failure is not None and time.monotonic() - self._failed_at < RETRY_SECONDS:
                raise self._failure
            self._asking = asyncio.create_task(self._renew(), name="log in to Keystone")
            self._asking.add_done_callback(self._asked)
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                return await asyncio.shield(self._asking)
        except TimeoutError:
            raise UnavailableError("Keystone does not answer.") from None

    async def aclose(self) -> None:
        """Give up a log-in under way; its thread ends with its own time-outs."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _renew(self) -> Access:
        try:
            self._access = await asyncio.to_thread(self._log_in, self._settings)
        except UnavailableError as error:
            self._access, self._failure, self._failed_at = None, error, time.monotonic()
            raise
        self._failure = None
        return self._access

    def _asked(self, asking: asyncio.Task[Access]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # looked at here, should everybody who waited be gone


def _ends_soon(access: Access) -> bool:
    return (access.expires - datetime.now(UTC)).total_seconds() < STALE_SECONDS


def load_plugin(settings: KeystoneSettings) -> BaseIdentityPlugin:
    """Return keystoneauth1's plugin for the account, not logged in; `ConfigError` if it cannot be."""
    options = {"auth_url": settings.auth_url, **settings.login}
    loader: Any = loading.get_plugin_loader(settings.auth_type)
    known = {option.dest for option in loader.get_options()}
    try:
        plugin: BaseIdentityPlugin = loader.load_from_options(
            **{name: value for name, value in options.items() if name in known}
        )
    except ClientException as error:
        raise ConfigError(f"[{settings.section}] {' '.join(str(error).split())}") from None
    return plugin


def _log_in(settings: KeystoneSettings) -> Access:
    """In a thread: get a token, and find out where Keystone wants to be asked."""
    plugin = load_plugin(settings)
    verify = not settings.insecure and (str(settings.cafile or "") or True)
    certificate = (str(settings.certfile), str(settings.keyfile or settings.certfile))
    try:
        with requests.Session() as connections:
            connections.hooks["response"].append(_read)
            session = Session(
                session=connections,
                verify=verify,
                cert=certificate if settings.certfile else None,
                timeout=settings.request_seconds,
                app_name="cacheproxy-registry",
            )
            found = plugin.get_access(session)
            url = _endpoint(plugin, session, settings)
    except (ClientException, OSError) as error:
        # Its text may quote what was sent.
        raise UnavailableError(
            f"Keystone gives the catalog no token: {type(error).__name__}"
        ) from None
    if found.auth_token is None or found.expires is None:
        raise UnavailableError("Keystone gives the catalog no token: an answer without one")
    return Access(found.auth_token, _version_3(url or settings.auth_url), found.expires)


def _endpoint(
    plugin: BaseIdentityPlugin, session: Session, settings: KeystoneSettings
) -> str | None:
    """Return where the account's catalog has Keystone; None if it does not say."""
    try:
        return plugin.get_endpoint(
            session,
            service_type="identity",
            interface=settings.interface,
            region_name=settings.region,
            version=(3, 0),
        )
    except CatalogException:
        return None


def _version_3(url: str) -> str:
    url = url.rstrip("/")
    return url if urlsplit(url).path.endswith("/v3") else f"{url}/v3"


def _read(response: requests.Response, **_: object) -> None:
    """Read an answer to its end: then who keeps it, as tracebacks do, keeps no connection."""
    if response.content is not None:
        response.raw = None
