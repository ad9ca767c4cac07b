"""One answer of the fast lane that is not sent in one go: from memory, at the client's pace."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from backends.spans import Span
from cacheproxy.chunkread import OpenPart
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import ProxyError
from cacheproxy.headers import Headers
from cacheproxy.memory import Known
from cacheproxy.serve import Download, Image, Images
from cacheproxy.web.lane import Lane

WINDOW_BYTES = 4 << 20  # of an answer, whose files are leased at once
TURN_BYTES = 2 << 20  # sent to one who takes all, before others have their turn

log = logging.getLogger(__name__)


class Reply(Protocol):
    """What was decided to answer."""

    @property
    def lane(self) -> Lane:
        """To whom."""

    @property
    def facts(self) -> ImageFacts:
        """What image it is."""

    @property
    def known(self) -> Known:
        """What is remembered of it."""

    @property
    def start(self) -> int:
        """Its first byte that was asked for."""

    @property
    def stop(self) -> int:
        """One past the last one."""

    @property
    def headers(self) -> Headers:
        """The caller's own."""


R = TypeVar("R", bound=Reply)


class Account(Protocol[R]):
    """What answers belong to."""

    @property
    def images(self) -> Images:
        """Where the bytes are from."""

    def owns(self, task: asyncio.Task[None]) -> None:
        """See to the end of a task."""

    def ended(self, answer: Answer[R], result: str) -> None:
        """Count an answer, and tell of it."""


class Answer(Generic[R]):
    """An answer on its way; see `lane.Sending`.

    A chunk that has left memory is brought by a `Download`, as on the other lane; where the next one
    has too, twice as many are brought as the last time.
    """

    __slots__ = (
        *("first_byte_seconds", "memory_bytes", "reply", "sent_bytes"),
        *("_account", "_bring_chunks", "_download", "_ended", "_lane", "_parts", "_results"),
        *("_soon", "_task"),
    )

    def __init__(
        self,
        account: Account[R],
        reply: R,
        parts: list[OpenPart],
        sent_bytes: int,
        first_byte_seconds: float,
    ) -> None:
        """`parts` are what comes next, leased, the first one last; so many bytes were sent."""
        self.reply = reply
        self.first_byte_seconds = first_byte_seconds
        self.memory_bytes = sent_bytes  # of the image, sent by this
        self.sent_bytes = sent_bytes  # and with those that a download brought
        self._lane = reply.lane
        self._account = account
        self._parts = parts
        self._download: Download | None = None  # of what has left memory
        self._results = set[str]()  # of those that have ended
        self._bring_chunks = 1  # the next time
        self._task: asyncio.Task[None] | None = None
        self._soon: asyncio.Handle | None = None  # its next turn
        self._ended = False

    def __repr__(self) -> str:
        reply = self.reply
        return f"<Answer {reply.facts.image_id}, {self.sent_bytes} of {reply.stop - reply.start}>"

    def go_on(self) -> None:
        """Send until all is sent, or the client takes no more."""
        try:
            sent = self._send()
        except Exception:
            log.exception("an answer of %s is broken off", self.reply.facts.image_id)
            self._break()
            return
        if sent:
            self.end()
            self._lane.sent()

    def _send(self) -> bool:
        """Send what can be sent now; whether that was the rest."""
        lane, parts, outlet = self._lane, self._parts, self._lane.outlet
        outlet.on_ready = self._soon = None
        turn = self.sent_bytes + TURN_BYTES
        while parts or self._lease():
            part = parts[-1]
            there = part.position
            done = outlet.send_now(part)
            self.memory_bytes += part.position - there
            self.sent_bytes += part.position - there
            if part.position > there:
                self._bring_chunks = 1
            if done:
                self._account.images.release(parts, 1)
                if self.sent_bytes >= turn:
                    self._soon = asyncio.get_running_loop().call_soon(self.go_on)
                    return False
            elif lane.transport.is_closing():
                return False  # the lane will end this
            elif outlet.full:
                outlet.on_ready = self.go_on
                return False
            else:
                break
        if self.sent_bytes == self.reply.stop - self.reply.start:
            return True
        self._bring()
        return False

    def _lease(self) -> bool:
        """Lease the files of what comes next; False: there is nothing more, or they are not open."""
        reply, images = self.reply, self._account.images
        start = reply.start + self.sent_bytes
        if start == reply.stop:
            return False
        stop = min(reply.stop, start + WINDOW_BYTES)
        self._parts[:] = images.parts(reply.known, start, stop) or ()
        images.hold(self._parts)
        return bool(self._parts)

    def end(self, *, failed: bool = False) -> None:
        """Give everything back; it was all, or the client has left, or it could not go on."""
        if self._ended:
            return
        self._ended = True
        self._lane.outlet.on_ready = None
        if self._soon is not None:
            self._soon.cancel()
        self._account.images.release(self._parts)
        if self._task is not None:
            self._task.cancel()
        self._account.ended(self, "error" if failed else self._result())

    def _result(self) -> str:
        """Return how all of it was served."""
        results = self._results
        if self._download is not None:
            results.add(self._download.result)
        if "bypass" in results:
            return "bypass"
        if results <= {"hit"}:
            return "hit"
        return "partial" if self.memory_bytes or results != {"miss"} else "miss"

    def _break(self, *, failed: bool = True) -> None:
        self._task = None
        self.end(failed=failed)
        self._lane.broken()

    # --- what has left memory ---------------------------------------------------------------------

    def _bring(self) -> None:
        self._account.images.release(self._parts)
        self._task = asyncio.get_running_loop().create_task(self._send_absent())
        self._account.owns(self._task)

    async def _send_absent(self) -> None:
        """Send what is not in memory as the other lane would, and go on."""
        try:
            await self._bring_some()
        except ConnectionError:
            self._lane.transport.abort()  # the client has left: the lane will end this
        except TimeoutError:  # it took nothing for so long: what it holds is wanted elsewhere
            self._break(failed=False)
        except ProxyError as error:
            log.info("an answer of %s is broken off: %s", self.reply.facts.image_id, error)
            self._break()
        except Exception:
            log.exception("an answer of %s is broken off", self.reply.facts.image_id)
            self._break()
        else:
            self._task = None
            self.go_on()

    async def _bring_some(self) -> None:
        reply, images = self.reply, self._account.images
        start, chunk_bytes = reply.start + self.sent_bytes, reply.known.grid.chunk_bytes
        stop = min(reply.stop, (start // chunk_bytes + self._bring_chunks) * chunk_bytes)
        self._bring_chunks *= 2
        image = Image(reply.facts, proven=True)
        async with aclosing(await images.open(image, Span(start, stop), reply.headers)) as download:
            self._download = download
            async with aclosing(download.pieces()) as pieces:
                async for piece in pieces:
                    size = len(piece)
                    try:
                        await self._lane.outlet.put(piece)
                    finally:
                        left = len(piece) if isinstance(piece, OpenPart) else 0
                        self.sent_bytes += size - left
        self._results.add(download.result)
        self._download = None
