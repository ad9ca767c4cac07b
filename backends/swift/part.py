"""One object on its way to Swift: fed piece by piece, sent by a task of its own, checked by digest.

Part → feed* → end        and beside it     put
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from backends.errors import DuplicateError, InvalidError, MissingError, UnavailableError
from backends.swift.client import Request, SwiftClient, Target, refusal
from backends.swift.spool import Spool
from backends.wrapping import Retrying

_ATTEMPTS = 3  # of one part, if all its bytes are still there
_FIRST_PAUSE_SECONDS = 0.2
_PAUSE_SECONDS_MAX = 2.0
_HASHED_AT_ONCE = 1 << 16  # bytes; more than that is hashed in a thread


@dataclass(kw_only=True, eq=False)
class Part:
    """An object of `length` bytes, or of what `feed` brings until `end`, no more than `limit`.

    Each piece holds one place in `room` until it is sent; until the whole object is there, if it
    `keeps` its pieces to send them again.  Else they go to a file in `buffered_in` for that, and
    where there is none (None) the object fails when it cannot be sent at once.
    """

    target: Target
    headers: Mapping[str, str]
    length: int | None
    limit: int
    room: asyncio.Semaphore
    keeps: bool
    buffered_in: Path | None
    is_verified: bool  # whether Swift's MD5 of it is held against ours

    def __post_init__(self) -> None:
        self.left = self.limit  # bytes that it still takes
        self.is_sent = False  # perhaps wholly: it may appear, whatever happens here
        self._pieces: list[bytes | None] = []
        self._ended = not self.left
        self._changed = asyncio.Event()
        self._digest = hashlib.md5(usedforsecurity=False)
        self._hashed = 0  # pieces
        self._lost = 0  # pieces that were sent and are not in memory any more
        self._trouble: UnavailableError | None = None  # of ours, with what is sent
        self._spool = None if self.keeps or not self.buffered_in else Spool(self.buffered_in)

    def feed(self, piece: bytes) -> None:
        """Take a piece, not more than is left; it has its place in `room` already."""
        self._pieces.append(piece)
        self.left -= len(piece)
        self._changed.set()

    def end(self) -> None:
        """Take nothing more."""
        self._ended = True
        self._changed.set()

    async def put(
        self,
        client: SwiftClient,
        make_container: Callable[[Target], Awaitable[None]],
        stall_seconds: float,
    ) -> None:
        """Send it; DuplicateError if it must be new and is not.

        What failed for a while is tried again as long as all pieces are there.
        """
        retrying = Retrying(_ATTEMPTS, _FIRST_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        failures = 0
        made = False
        try:
            while True:
                try:
                    await self._attempt(client, stall_seconds)
                    return
                except MissingError:
                    if made or not self._is_repeatable:
                        raise
                    await make_container(self.target)
                    made = True
                except UnavailableError as error:
                    if not self._is_repeatable:
                        raise
                    failures += 1
                    await retrying.pause(failures, error)
        finally:
            self._forget(len(self._pieces))
            if self._spool is not None:
                await self._spool.aclose()

    @property
    def _is_repeatable(self) -> bool:
        return self._spool is not None or not self._lost

    async def _attempt(self, client: SwiftClient, stall_seconds: float) -> None:
        shown = self.target.shown
        deadline = asyncio.timeout(stall_seconds)  # until Swift has asked for the body
        self.is_sent = self.length == 0
        self._trouble = None
        headers = dict(self.headers)
        if self.length is not None:
            headers["Content-Length"] = str(self.length)
        body = None if self.length == 0 else lambda: _Body(self, deadline, stall_seconds)
        request = Request("PUT", self.target, headers=headers, body=body)
        try:
            async with deadline:
                answer = await client.call(request)
        except TimeoutError:
            raise UnavailableError(f"{shown}: no answer in time") from None
        except UnavailableError as error:
            raise self._trouble or error from None
        if answer.status == HTTPStatus.PRECONDITION_FAILED:
            raise DuplicateError(f"{shown}: is there already")
        if answer.status != HTTPStatus.CREATED:
            raise refusal(shown, answer.status)
        told = answer.headers.get("ETag", "").strip('"').lower()
        if self.is_verified and told != self._digest.hexdigest():
            raise InvalidError(f"{shown}: Swift has other bytes than were sent")

    async def send(self, writer: AbstractStreamWriter, stall_seconds: float) -> None:
        """Write all pieces to the wire, as they come."""
        position = 0
        while await self._has(position):
            piece = await self._piece(position)
            is_new = self.is_verified and position == self._hashed
            hashing = self._begin_hash(piece) if is_new else None
            position += 1
            self.is_sent = self._ended and position == len(self._pieces)
            self._lost += not self.keeps
            try:
                async with asyncio.timeout(stall_seconds):
                    await writer.write(piece)
            finally:
                if hashing is not None:
                    await asyncio.wait({hashing})
            if not self.keeps:
                self._forget(position)

    async def _piece(self, position: int) -> bytes:
        """Return what is sent next, for the first time or again."""
        piece = self._pieces[position]
        if self._spool is None:
            if piece is None:
                raise UnavailableError(f"{self.target.shown}: some of it was sent, and is gone")
            return piece
        try:
            if piece is None:
                return await self._spool.read(position)
            if position == self._spool.pieces:
                await self._spool.append(piece)
        except UnavailableError as error:
            self._trouble = error  # aiohttp says only that it could not send
            raise
        return piece

    async def _has(self, position: int) -> bool:
        """Wait for a piece; return False where there will be none."""
        while position == len(self._pieces):
            if self._ended:
                self.is_sent = True
                return False
            self._changed.clear()
            await self._changed.wait()
        return True

    def _begin_hash(self, piece: bytes) -> asyncio.Future[None] | None:
        """Hash the next piece; return None if that is done."""
        self._hashed += 1
        if len(piece) <= _HASHED_AT_ONCE:
            self._digest.update(piece)
            return None
        return asyncio.get_running_loop().run_in_executor(None, self._digest.update, piece)

    def _forget(self, stop: int) -> None:
        """Drop the pieces before `stop`, and give their places back."""
        for position in range(stop - 1, -1, -1):
            if self._pieces[position] is None:
                return
            self._pieces[position] = None
            self.room.release()


class _Body(aiohttp.Payload):
    """A part's bytes, sent once; aiohttp would send the rest of an iterator as if it were all."""

    def __init__(self, part: Part, deadline: asyncio.Timeout, stall_seconds: float) -> None:
        super().__init__(part, content_type="application/octet-stream")
        self._part = part
        self._deadline = deadline
        self._stall_seconds = stall_seconds

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  # aiohttp's signature
        raise TypeError("a part is not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002  # the part knows it too
    ) -> None:
        self._consumed = True
        if not self._deadline.expired():
            self._deadline.reschedule(None)
        await self._part.send(writer, self._stall_seconds)
