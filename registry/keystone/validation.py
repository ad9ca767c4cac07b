"""Asks Keystone about a token: `GET /v3/auth/tokens`, with the catalog's own."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from http import HTTPStatus
from typing import Any

import aiohttp

from registry.domain.errors import UnavailableError
from registry.errors import ConfigError
from registry.keystone.account import Access, Account
from registry.keystone.options import KeystoneSettings
from registry.keystone.token import Token, parse_token

LOG = logging.getLogger(__name__)

QUESTIONS_MAX = 64  # to Keystone at once; more wait, each for its own time
ANSWER_BYTES_MAX = 1 << 20
FIRST_PAUSE_SECONDS = 0.1  # before a connection is tried again; then twice as long each time
# Without it Keystone takes tokens of application credentials with access rules for none.
_ACCESS_RULES = {"OpenStack-Identity-Access-Rules": "1.0"}


class Keystone:
    """Asks about tokens; belongs to one loop."""

    def __init__(self, settings: KeystoneSettings, account: Account) -> None:
        """Blocks for reading the files of certificates; `ConfigError` if they are none."""
        self._settings = settings
        self._account = account
        self._context = _tls(settings)
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close the connections, and give up a log-in."""
        if self._session is not None:
            await self._session.close()
        await self._account.aclose()

    async def ask(self, token: str, *, allow_expired: bool = False) -> Token | None:
        """Return what Keystone says of a token, None if it is none; `UnavailableError` if nothing."""
        access = await self._account.access()
        answer = await self._ask(access, token, allow_expired=allow_expired)
        if isinstance(answer, Access):  # the catalog's own token was refused
            access = await self._account.access(refused=access)
            answer = await self._ask(access, token, allow_expired=allow_expired)
        if isinstance(answer, Access):
            raise UnavailableError("Keystone refuses the catalog's own token.")
        return answer

    async def document(self, path: str) -> Any | None:
        """Return a document by its path behind /v3, None if there is none; `UnavailableError`."""
        access = await self._account.access()
        status, text = await self._get(access.url + path, {"X-Auth-Token": access.token})
        if status == HTTPStatus.UNAUTHORIZED:  # the catalog's own token was refused
            access = await self._account.access(refused=access)
            status, text = await self._get(access.url + path, {"X-Auth-Token": access.token})
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status != HTTPStatus.OK:
            raise UnavailableError(f"Keystone answers {status} to the catalog.")
        try:
            return json.loads(text)
        except ValueError:
            raise UnavailableError("Keystone's answer cannot be read.") from None

    async def _ask(
        self, access: Access, token: str, *, allow_expired: bool
    ) -> Token | Access | None:
        """Ask once; return the access itself where Keystone does not take it."""
        query = "?nocatalog" + ("&allow_expired=1" if allow_expired else "")
        headers = {"X-Auth-Token": access.token, "X-Subject-Token": token, **_ACCESS_RULES}
        status, text = await self._get(f"{access.url}/auth/tokens{query}", headers)
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status == HTTPStatus.UNAUTHORIZED:
            return access
        if status != HTTPStatus.OK:
            hint = (
                ": does its user have the role service?" if status == HTTPStatus.FORBIDDEN else ""
            )
            raise UnavailableError(f"Keystone answers {status} to the catalog{hint}")
        try:
            return parse_token(text)
        except ValueError:
            raise UnavailableError("Keystone's answer cannot be read.") from None

    async def _get(self, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=QUESTIONS_MAX, ssl=self._context),
                timeout=aiohttp.ClientTimeout(total=self._settings.request_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        pause, retries = FIRST_PAUSE_SECONDS, self._settings.retries
        while True:
            try:
                async with self._session.get(
                    url, headers=headers, allow_redirects=False
                ) as response:
                    return response.status, await _read(response)
            except TimeoutError:
                raise UnavailableError("Keystone does not answer.") from None
            except aiohttp.ClientConnectionError as error:
                if not retries:
                    raise _unreachable(error) from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                # ValueError: no header can carry it.
                raise _unreachable(error) from None
            retries -= 1
            await asyncio.sleep(pause)
            pause *= 2


def _unreachable(error: Exception) -> UnavailableError:
    return UnavailableError(f"Keystone cannot be asked: {type(error).__name__}")  # may quote tokens


def _tls(settings: KeystoneSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.cafile)
        if settings.certfile is not None:
            context.load_cert_chain(settings.certfile, settings.keyfile)
    except OSError as error:
        raise ConfigError(
            f"[{settings.section}] cafile, certfile or keyfile cannot be read: {error.strerror}"
        ) from None
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _read(response: aiohttp.ClientResponse) -> bytes:
    text = bytearray()
    async for piece in response.content.iter_any():
        text += piece
        if len(text) > ANSWER_BYTES_MAX:
            raise UnavailableError(f"Keystone answers more than {ANSWER_BYTES_MAX} bytes.")
    return bytes(text)
