"""Answers ordinary requests for image data that is open here, without a task, a queue or a wait.

Nothing is decided that the handlers behind aiohttp (`image_file.py`) would decide otherwise: the same
belief in the same upstream's yes, the same record, the same chunks under the same proof, counted
alike.  Whatever would take a question, or the disk, is theirs.  What cannot be sent at once goes on
when the client takes more; what cannot be sent from memory any more is brought by a `Download`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from email.utils import formatdate

from backends.spans import Span
from cacheproxy.chunkread import OpenPart
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import ProxyError
from cacheproxy.headers import Headers
from cacheproxy.identity import Identities
from cacheproxy.meter import Meter
from cacheproxy.metrics import (
    FAST_REQUESTS,
    FILE_REQUESTS,
    REQUESTS,
    SERVED_BYTES,
    TIME_TO_FIRST_BYTE,
)
from cacheproxy.permission import Permissions
from cacheproxy.serve import Image, Images
from cacheproxy.web.access_log import Entry, access_log, write
from cacheproxy.web.cache_rights import TOKEN
from cacheproxy.web.errors import SERVER
from cacheproxy.web.image_file import (
    REQUEST_ID,
    REQUEST_ID_LENGTH_MAX,
    OnSent,
    Sent,
    nobody,
    request_id_of,
)
from cacheproxy.web.lane import Lane
from cacheproxy.web.ordinary import ordinary, read_fields

SPAN_BYTES_MAX = 4 << 20  # longer answers are worth a task, and their readers a turn of others
COPIED_BYTES_MAX = 16 << 10  # shorter ones are cheaper to copy behind their head than to send apart
IMAGES_MAX = 64  # remembered of one connection

NEXT = "\r\n"

log = logging.getLogger(__name__)


class Caller:
    """Who asks on a connection: the fields of his last request, which hardly ever change."""

    __slots__ = ("_keys", "headers", "lines", "request_id", "token")

    def __init__(self, lines: bytes, headers: Headers, request_id: str) -> None:
        self.lines = lines
        self.headers = headers
        self.request_id = request_id
        self.token = next((text for name, text in headers if name.lower() == TOKEN.lower()), None)
        self._keys: dict[str, bytes] = {}

    def key(self, image_id: str, permissions: Permissions) -> bytes:
        """Return what the upstream's word about an image is found under."""
        key = self._keys.get(image_id)
        if key is None:
            if len(self._keys) >= IMAGES_MAX:
                self._keys.clear()
            key = self._keys[image_id] = permissions.key(image_id, self.headers)
        return key


class FastLane:
    """Takes requests from lanes; of one worker."""

    def __init__(  # noqa: PLR0913  everything but the first three may be left out
        self,
        images: Images,
        permissions: Permissions,
        meter: Meter,
        on_sent: OnSent = nobody,
        identities: Identities | None = None,
        *,
        log_requests: bool = False,
    ) -> None:
        self.images = images
        self.meter = meter
        self._permissions = permissions
        self._on_sent = on_sent
        self._identities = identities
        self._log_requests = log_requests
        self._date_at = 0
        self._date = ""
        self.tasks: set[asyncio.Task[None]] = set()  # that bring what has left memory

    def begin(self, lane: Lane, data: bytes) -> Answer | None:  # noqa: PLR0911  each is left to others
        """Take a request; see `lane.Fast`."""
        asked = ordinary(data)
        if asked is None:
            return None
        image_id, first, last, lines = asked
        caller = lane.memo
        if not isinstance(caller, Caller) or caller.lines != lines:
            fields = read_fields(lines)
            if fields is None or len(fields.request_id) > REQUEST_ID_LENGTH_MAX:
                return None
            caller = lane.memo = Caller(lines, *fields)
        # Authorise first: nothing below is looked at for one whom the upstream has not just allowed.
        if not self._permissions.believed(caller.key(image_id, self._permissions)):
            return None
        known = self.images.memory.current(image_id)
        if known is None:
            return None
        facts, grid = known
        size = facts.size
        start, stop = (0, size) if first < 0 else (first, size if last < 0 else min(last + 1, size))
        if start >= stop or stop - start > SPAN_BYTES_MAX:
            return None
        if lane.outlet.sock is None and stop - start > COPIED_BYTES_MAX:
            return None
        parts = self.images.lease(image_id, grid, start, stop)
        if parts is None:
            return None
        answer = Answer(self, lane, caller, facts, Span(start, stop), parts)
        try:
            begun = answer.begin(206 if first >= 0 else 200)
        except BaseException:
            self.images.release(parts)
            raise
        if not begun:
            self.images.release(parts)
            return None
        return answer

    def date(self) -> str:
        """Return the value of the `Date` field."""
        now = int(time.time())
        if now != self._date_at:
            self._date_at, self._date = now, formatdate(now, usegmt=True)
        return self._date

    def ended(self, answer: Answer, result: str) -> None:
        """Count an answer, and tell of it."""
        meter, lane, caller = self.meter, answer.lane, answer.caller
        meter.inc(FAST_REQUESTS)
        meter.inc(FILE_REQUESTS)
        meter.inc(REQUESTS, 1, result)
        meter.observe(TIME_TO_FIRST_BYTE, answer.first_byte_seconds, result)
        meter.inc(SERVED_BYTES, answer.memory_bytes, "cache")
        address = lane.address
        sent = Sent(answer.facts, len(answer.span), answer.sent_bytes, result)
        self._on_sent(sent, address, caller.token)
        if self._log_requests:
            entry = Entry(
                remote=address,
                method="GET",
                path=f"/v2/images/{answer.facts.image_id}/file",
                status=answer.status,
                sent_bytes=answer.sent_bytes,
                seconds=time.monotonic() - answer.began,
                result=result,
                request_id=answer.request_id,
                asked_id=caller.request_id or "-",
            )
            write(access_log, entry, self._identities, caller.token)

    async def close(self) -> None:
        """Give up what is still being brought."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Answer:
    """One answer on its way; see `lane.Sending`."""

    __slots__ = (
        *("began", "caller", "facts", "first_byte_seconds", "lane", "memory_bytes", "request_id"),
        *("sent_bytes", "span", "status", "_ended", "_fast", "_parts", "_task"),
    )

    def __init__(  # noqa: PLR0913, PLR0917  all of what it is
        self,
        fast: FastLane,
        lane: Lane,
        caller: Caller,
        facts: ImageFacts,
        span: Span,
        parts: list[OpenPart],
    ) -> None:
        self.lane = lane
        self.caller = caller
        self.facts = facts
        self.span = span
        self.status = 0
        self.request_id = request_id_of(caller.request_id)
        self.began = time.monotonic()
        self.first_byte_seconds = 0.0
        self.memory_bytes = 0  # of the image, sent by this
        self.sent_bytes = 0  # and with those that a download brought
        self._fast = fast
        self._parts = parts  # what is left, the first part last
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"<Answer {self.facts.image_id}, {self.sent_bytes} of {len(self.span)}>"

    def begin(self, status: int) -> bool:
        """Send the head and what goes with it; False if that takes the disk: nothing was sent."""
        self.status = status
        sock = self.lane.outlet.sock
        head, part = self._head(), self._parts[-1]
        rest = head
        try:
            if sock is None or len(self.span) <= COPIED_BYTES_MAX:
                data = self._copied()
                if data is None:
                    return False
                self.memory_bytes = self.sent_bytes = len(data)
                rest = head + data
                if sock is not None:
                    rest = rest[sock.send(rest) :]
            else:
                there = part.position
                taken = part.send(sock, head)
                if taken is None:
                    return False
                rest = head[taken:]
                self.memory_bytes = self.sent_bytes = part.position - there
        except BlockingIOError:
            pass  # the client has not yet read what it got before
        except OSError:
            self.lane.transport.abort()  # the client has left: the lane will end this
            return True
        if rest:
            self.lane.transport.write(rest)
        self.first_byte_seconds = time.monotonic() - self.began
        return True

    def go_on(self) -> None:
        """Send until all is sent, or the client takes no more."""
        lane, parts, outlet = self.lane, self._parts, self.lane.outlet
        outlet.on_ready = None
        try:
            while parts:
                part = parts[-1]
                if not len(part):
                    self._fast.images.keeper.hot.release(parts.pop().file)
                elif lane.transport.is_closing():
                    return  # the lane will end this
                elif outlet.full:
                    outlet.on_ready = self.go_on
                    return
                elif not self._send(part):
                    self._bring()
                    return
        except OSError:
            lane.transport.abort()
            return
        self.end()
        lane.sent()

    def end(self, result: str = "hit") -> None:
        """Give everything back; it was all, or the client has left."""
        if self._ended:
            return
        self._ended = True
        self.lane.outlet.on_ready = None
        self._fast.images.release(self._parts)
        if self._task is not None:
            self._task.cancel()
        self._fast.ended(self, result)

    def _head(self) -> bytes:
        facts, span = self.facts, self.span
        partial = self.status == 206
        checksum = "" if facts.checksum is None else f"Content-MD5: {facts.checksum}\r\n"
        return (
            f"HTTP/1.1 {'206 Partial Content' if partial else '200 OK'}\r\n"
            f"Accept-Ranges: bytes\r\nServer: {SERVER}\r\n{REQUEST_ID}: {self.request_id}\r\n"
            f'{checksum}ETag: "{facts.image_id}"\r\nContent-Length: {len(span)}\r\n'
            "Content-Type: application/octet-stream\r\n"
            f"{f'Content-Range: {span.content_range(facts.size)}' + NEXT if partial else ''}"
            f"Date: {self._fast.date()}\r\n\r\n"
        ).encode()

    def _copied(self) -> bytes | None:
        """Return all of a short answer, None if that takes the disk."""
        pieces: list[bytes] = []
        for part in reversed(self._parts):
            data = part.read(len(part))
            if data is None:
                return None
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _send(self, part: OpenPart) -> bool:
        """Send what the client takes of a part; False if that takes the disk."""
        outlet, there = self.lane.outlet, part.position
        assert outlet.sock is not None  # else all went with the head
        try:
            here = part.send(outlet.sock) is not None
        except BlockingIOError:
            here = outlet.spill(part)
        self.memory_bytes += part.position - there
        self.sent_bytes += part.position - there
        return here

    # --- what has left memory ---------------------------------------------------------------------

    def _bring(self) -> None:
        self._fast.images.release(self._parts)
        self._task = asyncio.get_running_loop().create_task(self._download())
        self._fast.tasks.add(self._task)
        self._task.add_done_callback(self._fast.tasks.discard)

    async def _download(self) -> None:
        """Send the rest as the other lane would."""
        rest = Span(self.span.start + self.sent_bytes, self.span.stop)
        image, images = Image(self.facts, proven=True), self._fast.images
        result = "error"
        try:
            async with aclosing(await images.open(image, rest, self.caller.headers)) as download:
                async with aclosing(download.pieces()) as pieces:
                    async for piece in pieces:
                        left = len(piece)
                        await self.lane.outlet.put(piece)
                        self.sent_bytes += (
                            left - len(piece) if isinstance(piece, OpenPart) else left
                        )
                result = download.result
        except ConnectionError:
            return  # the client has left: the lane will end this
        except (ProxyError, TimeoutError) as error:
            log.info("an answer of %s is broken off: %s", self.facts.image_id, error)
        except Exception:
            log.exception("an answer of %s is broken off", self.facts.image_id)
        self._task = None
        self.end(result)
        if result == "error":
            self.lane.broken()
        else:
            self.lane.sent()
