"""Answers ordinary requests for image data that is at hand: without a task, a question or a wait.

Nothing is decided that `ImageDataHandlers.download` would decide otherwise: the same caller, the same
rules, the same record, told to the same log and to the same others.  Whatever needs a question to
Keystone, the database or the disk, and whatever is refused, is its.  A short answer goes out in one
piece, before anything else happens; a longer one goes on in a task, as the client takes it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate

from aiohttp.http import SERVER_SOFTWARE, StreamWriter
from aiohttp.log import access_logger

from backends.ordinary import Repeat, ordinary, read_fields
from backends.spans import Span
from registry import logs
from registry.domain.identity import Identity
from registry.keystone.callers import Credentials
from registry.service.athand import AtHand, Held, HeldDownload
from registry.service.downloads import Downloads
from registry.web.access_log import write_line
from registry.web.conditions import entity_tag
from registry.web.identity import Recognise
from registry.web.lane import Lane
from registry.web.outgoing import Outgoing
from registry.web.progress import Progress
from registry.web.request_id import (
    REQUEST_ID_HEADER,
    REQUEST_ID_LENGTH_MAX,
    request_id_of,
    shown_request_id,
)

LOG = logging.getLogger(__name__)

# Up to here a copy behind the head, in one call, is cheaper than the pages themselves in a second one.
COPIED_BYTES_MAX = 64 << 10
# Fields that change who asks, or what is answered, and that the handlers read.
_NOT_HERE = frozenset({"origin", "x-storage-token"})


class Memo:
    """What a connection's last request said, which the next one mostly says again.

    It has the caller's token, and lasts as long as the connection.
    """

    __slots__ = ("agent", "asked_id", "credentials", "image_id", "repeat")

    def __init__(self, image_id: str, fields: dict[str, str], repeat: Repeat | None) -> None:
        self.image_id = image_id
        self.credentials = Credentials(
            token=fields.get("x-auth-token"),
            service_token=fields.get("x-service-token"),
            method="GET",
            path=f"/v2/images/{image_id}/file",
        )
        self.asked_id = fields.get("x-openstack-request-id", "")
        self.agent = fields.get("user-agent", "-")
        self.repeat = repeat  # how another range of the same is asked for


class Reply:
    """What was decided to answer to a request."""

    __slots__ = ("began", "held", "identity", "memo", "request_id", "span", "whole")

    def __init__(  # noqa: PLR0913, PLR0917  all of what it is
        self, memo: Memo, identity: Identity, held: Held, span: Span, whole: bool, began: float
    ) -> None:
        self.memo = memo
        self.identity = identity
        self.held = held
        self.span = span
        self.whole = whole  # 200, not 206
        self.began = began  # of time.monotonic()
        self.request_id = request_id_of(memo.asked_id)


class FastLane:
    """Takes requests from lanes; of one process."""

    def __init__(
        self, recognise: Recognise, at_hand: AtHand, downloads: Downloads, progress: Progress
    ) -> None:
        self._recognise = recognise
        self._at_hand = at_hand
        self._downloads = downloads
        self._progress = progress
        self._buffer = memoryview(bytearray(COPIED_BYTES_MAX))
        self._date = ""
        self._date_until = 0.0  # of time.monotonic()

    def begin(self, lane: Lane, data: bytes) -> bool:
        """Take a request, and answer it or begin to; see `lane.Fast`."""
        began = time.monotonic()
        memo, wanted = lane.memo, None
        if isinstance(memo, Memo) and memo.repeat is not None:
            wanted = memo.repeat.read(data)
        if wanted is None:
            asked = ordinary(data)
            fields = None if asked is None else read_fields(asked.fields)
            if asked is None or fields is None:
                return False
            named = {name.lower(): text for name, text in fields.headers}
            if not _NOT_HERE.isdisjoint(named) or len(fields.request_id) > REQUEST_ID_LENGTH_MAX:
                return False
            repeat = Repeat.of(data) if asked.first >= 0 else None
            lane.memo = memo = Memo(asked.image_id, named, repeat)
            wanted = asked.first, asked.last
        assert isinstance(memo, Memo)
        reply = None if self._progress.closing else self._decide(memo, *wanted, began)
        return reply is not None and self._answer(lane, reply)

    def _decide(self, memo: Memo, first: int, last: int, began: float) -> Reply | None:
        identity = self._recognise(memo.credentials)
        held = None if identity is None else self._at_hand.find(identity, memo.image_id)
        if identity is None or held is None:
            return None
        size = held.data.size
        whole = first < 0
        start, stop = (0, size) if whole else (first, size if not 0 <= last < size else last + 1)
        if start >= stop:
            return None
        return Reply(memo, identity, held, Span(start, stop), whole, began)

    # --- answering --------------------------------------------------------------------------------

    def _answer(self, lane: Lane, reply: Reply) -> bool:
        span, file = reply.span, reply.held.file
        if len(span) <= COPIED_BYTES_MAX:
            body = self._buffer[: len(span)]
            if not file.read_into(body, span.start):
                return False
            head = self._head(reply)
            lane.write(head, body)
            self._at_once(lane, reply, len(head))
            return True
        near = file.near(span)
        if not len(near):
            return False
        head = self._head(reply)
        lane.write(head)
        sent = lane.send_pages(file.descriptor, near)
        if sent < len(span):
            download = self._at_hand.download(reply.held, span, near)
            download.sent(sent)
            lane.sends(self._send_rest(lane, reply, len(head), download))
        else:
            self._at_once(lane, reply, len(head))
        return True

    def _at_once(self, lane: Lane, reply: Reply, head_bytes: int) -> None:
        """All of a reply was sent in one go."""
        span = reply.span
        reply.held.file.on_read(len(span))
        with logs.saying(reply.request_id):
            self._downloads.sent(reply.identity, reply.held.data, span)
            _tell(lane, reply, head_bytes + len(span))

    async def _send_rest(
        self, lane: Lane, reply: Reply, head_bytes: int, download: HeldDownload
    ) -> None:
        """Send what the client did not take at once."""
        with logs.saying(reply.request_id), self._progress.one():
            try:
                writer = StreamWriter(lane, asyncio.get_running_loop())
                await Outgoing(lane.transport, writer).send(download)
                self._downloads.sent(reply.identity, reply.held.data, reply.span)
            except ConnectionError:
                LOG.info("%s the client went away", reply.request_id)
            except Exception:
                # The status has been sent: only a reset connection tells that the rest is missing.
                LOG.exception("GET %s failed", reply.memo.credentials.path)
                lane.abort()
            except BaseException:
                lane.abort()
                raise
            finally:
                _tell(lane, reply, head_bytes + len(reply.span) - download.left)
                await download.aclose()

    def _head(self, reply: Reply) -> bytes:
        """Return the head of an answer: what the handlers have aiohttp write."""
        data, span = reply.held.data, reply.span
        if reply.began >= self._date_until:
            wall = time.time()
            self._date = formatdate(int(wall), usegmt=True)
            self._date_until = reply.began + 1 - wall % 1
        checksum = "" if data.checksum is None else f"Content-MD5: {data.checksum}\r\n"
        status, part = "200 OK", ""
        if not reply.whole:
            status = "206 Partial Content"
            part = f"Content-Range: {span.content_range(data.size)}\r\n"
        return (
            f"HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\n"
            f"Accept-Ranges: bytes\r\nETag: {entity_tag(data.image_id)}\r\n{checksum}{part}"
            f"Content-Length: {len(span)}\r\n"
            f"{REQUEST_ID_HEADER}: {shown_request_id(reply.request_id)}\r\n"
            f"Date: {self._date}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
        ).encode()


def _tell(lane: Lane, reply: Reply, sent_bytes: int) -> None:
    """Write the line of the log that aiohttp would have written."""
    if access_logger.isEnabledFor(logging.INFO):
        memo = reply.memo
        line = f"GET {memo.credentials.path} HTTP/1.1"
        answer = 200 if reply.whole else 206, sent_bytes
        seconds = time.monotonic() - reply.began
        write_line(access_logger, lane.remote or "-", line, answer, seconds, memo.agent)
