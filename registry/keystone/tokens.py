"""Whose token is this?  Asked of Keystone, believed for a while.

1. Only good tokens are remembered, under an HMAC of the token, never the token, for no longer than
   the token lives; one that has ended, for a service that may still use it, as long as any.
2. Who asks about the same token at the same time waits for the same question.  The question
   belongs to this object and has a time-out; nobody else waits for it.
3. No answer is an error, not a "no".
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol, TypeAlias

from registry.domain.errors import UnavailableError
from registry.keystone.token import Token

SECRET_BYTES = 32
TOKENS_MAX = 16384  # remembered, about 1 KiB each; the longest unused goes first
WAITING_MAX = 4096  # questions at once; more are told 503

_Question: TypeAlias = tuple[bytes, bool]


class Ask(Protocol):
    """Asks about a token, whatever was asked before; None if it is none."""

    async def __call__(self, token: str, *, allow_expired: bool) -> Token | None: ...


class Tokens:
    """Answers for one process; belongs to one loop.  Times in seconds."""

    def __init__(
        self,
        ask: Ask,
        cache_seconds: float,
        question_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._cache_seconds = cache_seconds
        self._question_seconds = question_seconds
        self._clock = clock
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._known: OrderedDict[bytes, tuple[Token, float]] = OrderedDict()
        self._asking: dict[_Question, asyncio.Task[Token | None]] = {}

    def __repr__(self) -> str:
        return f"<Tokens {len(self._known)} known, {len(self._asking)} being asked>"

    async def find(self, token: str, *, allow_expired: bool = False) -> Token | None:
        """Return what a token stands for, None if it is none; `UnavailableError` if nobody says."""
        if not token.isascii():
            return None  # Keystone gives out no such, and no header takes it there
        key = self._key(token)
        found = self._remembered(key)
        if found is None:
            found = await self._question(key, token, allow_expired=allow_expired)
        if found is None or (found.left() <= 0 and not allow_expired):
            return None
        return found

    def remembered(self, token: str) -> Token | None:
        """Return what a token stands for, if that is known and it lives; None tells nothing."""
        found = self._remembered(self._key(token)) if token.isascii() else None
        return found if found is not None and found.left() > 0 else None

    async def aclose(self) -> None:
        """Give up what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _key(self, token: str) -> bytes:
        return hmac.digest(self._secret, token.encode(), "sha256")

    def _remembered(self, key: bytes) -> Token | None:
        if key not in self._known:
            return None
        token, until = self._known[key]
        if until <= self._clock():
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return token

    async def _question(self, key: bytes, token: str, *, allow_expired: bool) -> Token | None:
        question = (key, allow_expired)
        task = self._asking.get(question)
        if task is None:
            if len(self._asking) >= WAITING_MAX:
                raise UnavailableError("Too many tokens wait for Keystone.")
            task = asyncio.create_task(self._put(question, token), name="ask about a token")
            self._asking[question] = task
            task.add_done_callback(_looked_at)
        return await asyncio.shield(task)

    async def _put(self, question: _Question, token: str) -> Token | None:
        key, allow_expired = question
        asked_at = self._clock()
        try:
            async with asyncio.timeout(self._question_seconds):
                found = await self._ask(token, allow_expired=allow_expired)
        except TimeoutError:
            raise UnavailableError("Keystone does not answer.") from None
        finally:
            del self._asking[question]
        if found is not None and self._cache_seconds > 0:
            left = found.left()
            seconds = min(self._cache_seconds, left) if left > 0 else self._cache_seconds
            self._known[key] = (found, asked_at + seconds)
            self._known.move_to_end(key)
            if len(self._known) > TOKENS_MAX:
                self._known.popitem(last=False)
        return found


def _looked_at(task: asyncio.Task[Token | None]) -> None:
    if not task.cancelled():
        task.exception()  # looked at here, should everybody who waited be gone
