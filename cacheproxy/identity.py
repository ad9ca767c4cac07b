"""Who sends a token: asked of Keystone, believed for seconds.

For the cache's own interface and for logs only: who may have an image's bytes is the upstream's to
say (`permission.py`).  Rules:

1. A token vouches for itself: Keystone lets every valid one look at itself, so no account of the
   proxy's own, with its power over others, has to be kept on the node.
2. What was answered is kept under an HMAC of the token, never the token, for no longer than the
   token lives.  That a token is none is believed for a shorter while.
3. Who asks about the same token at the same time waits for the same question.  The question
   belongs to this object and has a time-out.
4. No answer is an error, not a "no": whoever decides by it refuses.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import aiohttp
import msgspec

from cacheproxy.config import KeystoneSettings
from cacheproxy.errors import IdentityError

SECRET_BYTES = 32
TOKENS_MAX = 4096  # remembered; the longest unused goes first
QUESTIONS_MAX = 64  # to Keystone at once
TOLD_LATER_MAX = 1024  # who wait to be told at once; more are told "nobody knows"
NOBODY_SECONDS = 10.0  # how long a token is believed to be none
ANSWER_BYTES_MAX = 1 << 20
ADMIN_ROLE = "admin"  # what Glance's own rules ask for, in the project that the token is for

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token stands for."""

    user_id: str
    project_id: str | None  # None: it is for no project
    roles: frozenset[str]  # in lower case, as Glance compares them
    expires: datetime

    @property
    def is_admin(self) -> bool:
        """Whether Glance's default rules would let them manage its cache."""
        return self.project_id is not None and ADMIN_ROLE in self.roles


class _Named(msgspec.Struct):
    id: str
    name: str = ""


class _Token(msgspec.Struct):
    user: _Named
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)]
    project: _Named | None = None
    roles: list[_Named] = []


class _Answer(msgspec.Struct):
    token: _Token


Ask = Callable[[str], Awaitable[Identity | None]]
Then = Callable[[Identity | None], None]


class Identities:
    """Answers "whose token is this?" for one process; belongs to one loop."""

    def __init__(
        self,
        settings: KeystoneSettings,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._keystone = None if ask else _Keystone(settings)
        self._question = ask or self._keystone
        self._clock = clock
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._known: OrderedDict[bytes, tuple[Identity | None, float]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Identity | None]] = {}
        self._telling: set[asyncio.Task[Identity | None]] = set()

    def __repr__(self) -> str:
        return f"<Identities {len(self._known)} known, {len(self._asking)} being asked>"

    @property
    def challenge(self) -> str:
        """What a 401 says of where tokens come from, in keystonemiddleware's words."""
        return f'Keystone uri="{self._settings.auth_url}"'

    async def of(self, token: str) -> Identity | None:
        """Return whose token this is, None if it is none; `IdentityError` if Keystone does not say."""
        key = self._key(token)
        if self._remembers(key):
            return self._known[key][0]
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= QUESTIONS_MAX:
                raise IdentityError("too many tokens at once")
            task = self._asking[key] = asyncio.create_task(self._ask(key, token), name="identity")
            task.add_done_callback(_looked_at)
        return await asyncio.shield(task)

    def tell(self, token: str | None, then: Then) -> None:
        """Call `then` with whose token this is, at once or later; None: it is none, or unknown.

        For what is not to wait.  Those who are still not told when this is closed are told None.
        """
        if token is None:
            then(None)
        elif self._remembers(key := self._key(token)):
            then(self._known[key][0])
        elif len(self._telling) >= TOLD_LATER_MAX:
            then(None)
        else:
            task = asyncio.create_task(self._of_any(token), name="tell an identity")
            self._telling.add(task)
            task.add_done_callback(partial(self._tell, then))

    async def close(self) -> None:
        """Give up what is being asked."""
        tasks = [*self._telling, *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._keystone is not None:
            await self._keystone.close()

    def _key(self, token: str) -> bytes:
        return hmac.digest(self._secret, token.encode("utf-8", "surrogateescape"), "sha256")

    def _remembers(self, key: bytes) -> bool:
        _, until = self._known.get(key, (None, 0.0))
        if until > self._clock():
            self._known.move_to_end(key)
            return True
        self._known.pop(key, None)
        return False

    async def _ask(self, key: bytes, token: str) -> Identity | None:
        asked_at = self._clock()
        assert self._question is not None
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                identity = await self._question(token)
        except TimeoutError:
            raise IdentityError("Keystone does not answer") from None
        finally:
            del self._asking[key]
        seconds = NOBODY_SECONDS
        if identity is not None:
            left = (identity.expires - datetime.now(UTC)).total_seconds()
            seconds = min(self._settings.token_seconds, left)
        self._known[key] = (identity, asked_at + seconds)
        if len(self._known) > TOKENS_MAX:
            self._known.popitem(last=False)
        return identity

    async def _of_any(self, token: str) -> Identity | None:
        try:
            return await self.of(token)
        except IdentityError as error:
            log.debug("a request's sender stays unknown: %s", error)
            return None

    def _tell(self, then: Then, task: asyncio.Task[Identity | None]) -> None:
        self._telling.discard(task)
        then(None if task.cancelled() else task.result())


class _Keystone:
    """Asks Keystone."""

    def __init__(self, settings: KeystoneSettings) -> None:
        base = settings.auth_url.rstrip("/")
        base = base if base.endswith("/v3") else f"{base}/v3"
        self._url = f"{base}/auth/tokens?nocatalog"
        context = ssl.create_default_context(cafile=settings.cafile)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=QUESTIONS_MAX, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def __call__(self, token: str) -> Identity | None:
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        try:
            async with self._session.get(
                self._url, headers=headers, allow_redirects=False
            ) as response:
                if response.status in (401, 404):
                    return None
                if response.status != 200:
                    raise IdentityError(f"Keystone answers {response.status}")
                text = await _read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: no header can carry it.  Its text may quote the token.
            kind = type(error).__name__
            raise IdentityError(f"Keystone cannot be asked: {kind}") from None
        try:
            found = msgspec.json.decode(text, type=_Answer).token
        except msgspec.MsgspecError:
            raise IdentityError("Keystone's answer cannot be read") from None
        return Identity(
            user_id=found.user.id,
            project_id=found.project.id if found.project is not None else None,
            roles=frozenset(role.name.lower() for role in found.roles),
            expires=found.expires_at,
        )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    text = bytearray()
    async for piece in response.content.iter_any():
        text += piece
        if len(text) > ANSWER_BYTES_MAX:
            raise IdentityError(f"Keystone answers more than {ANSWER_BYTES_MAX} bytes")
    return bytes(text)


def _looked_at(task: asyncio.Task[Identity | None]) -> None:
    if not task.cancelled():
        task.exception()  # looked at here, should everybody who waited be gone
