"""Answers ordinary requests for image data that is open here, without a task, a queue or a wait.

Nothing is decided that the handlers behind aiohttp (`image_file.py`) would decide otherwise: the same
belief in the same upstream's yes, the same record, the same chunks under the same proof, counted
alike.  Whatever would take a question, or the disk, is theirs.  A short answer goes out in one piece,
before anything else happens; a longer one is an `Answer`, which goes on as the client takes more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate

from backends.ordinary import Repeat, ordinary, read_fields
from cacheproxy.core.beliefs import Belief
from cacheproxy.core.facts import ImageFacts
from cacheproxy.headers import Headers
from cacheproxy.identity import Identities
from cacheproxy.memory import Known
from cacheproxy.meter import Meter, Term
from cacheproxy.metrics import (
    FAST_REQUESTS,
    FILE_REQUESTS,
    REQUESTS,
    SERVED_BYTES,
    TIME_TO_FIRST_BYTE,
)
from cacheproxy.permission import Permissions
from cacheproxy.serve import Images
from cacheproxy.web.access_log import Entry, access_log, write
from cacheproxy.web.answer import WINDOW_BYTES, Answer
from cacheproxy.web.cache_rights import TOKEN
from cacheproxy.web.errors import SERVER
from cacheproxy.web.image_file import (
    REQUEST_ID,
    REQUEST_ID_LENGTH_MAX,
    Sent,
    request_id_of,
)
from cacheproxy.web.lane import Lane
from cacheproxy.web.witness import Witness

IMAGES_MAX = 256  # remembered of one connection, if the caller may have them
# Up to here a copy behind the head, in one send, is cheaper than the pages themselves in a second one:
# in a server that does nothing else 15.0 against 16.5 µs for 64 KiB, 25.0 against 23.5 for 128.
COPIED_BYTES_MAX = 64 << 10


class Memo:
    """What a connection's last request said, which the next one mostly says again.

    It has the caller's token, and lasts as long as the connection.
    """

    __slots__ = (
        *("asked_id", "belief", "headers", "image_id", "key", "known", "lines", "others", "repeat"),
        *("token", "_facts", "_head"),
    )

    def __init__(self, image_id: str, lines: bytes, headers: Headers, asked_id: str) -> None:
        self.image_id = image_id
        self.lines = lines
        self.headers = headers
        self.asked_id = asked_id
        self.token = next((text for name, text in headers if name.lower() == TOKEN.lower()), None)
        self.key = b""  # what the upstream's word is found under
        self.belief: Belief | None = None  # in its word
        self.known: Known | None = None
        self.others: dict[str, Memo] = {}  # of the same fields, by image
        self.repeat: Repeat | None = None  # how another range of the same is asked for
        self._facts: ImageFacts | None = None  # of which `_head` is
        self._head = ""

    def stay(self) -> None:
        """Be remembered beside the others; the first of too many is not any more."""
        self.others[self.image_id] = self
        if len(self.others) > IMAGES_MAX:
            del self.others[next(iter(self.others))]

    def head(self, reply: Reply, date: str) -> bytes:
        """Return the head of an answer: what `image_file` has aiohttp write, as `tests/fuzz` sees to."""
        facts, start, stop = reply.known.facts, reply.start, reply.stop
        if self._facts is not facts:
            checksum = "" if facts.checksum is None else f"Content-MD5: {facts.checksum}\r\n"
            self._facts = facts
            self._head = f'\r\n{checksum}ETag: "{facts.image_id}"\r\nContent-Length: '
        if reply.whole:
            status, part = "200 OK", ""
        else:
            status = "206 Partial Content"
            part = f"Content-Range: bytes {start}-{stop - 1}/{facts.size}\r\n"
        return (
            f"HTTP/1.1 {status}\r\nAccept-Ranges: bytes\r\nServer: {SERVER}\r\n"
            f"{REQUEST_ID}: {reply.request_id}{self._head}{stop - start}\r\n"
            f"Content-Type: application/octet-stream\r\n{part}Date: {date}\r\n\r\n"
        ).encode()


class Reply:
    """What was decided to answer to a request."""

    __slots__ = ("began", "known", "lane", "memo", "request_id", "start", "stop", "whole")

    def __init__(  # noqa: PLR0913, PLR0917  all of what it is
        self, lane: Lane, memo: Memo, known: Known, start: int, stop: int, whole: bool, began: float
    ) -> None:
        self.lane = lane
        self.memo = memo
        self.known = known
        self.start = start
        self.stop = stop
        self.whole = whole  # 200, not 206
        self.request_id = request_id_of(memo.asked_id)
        self.began = began  # of the fast lane's clock

    @property
    def facts(self) -> ImageFacts:
        """What image it is."""
        return self.known.facts

    @property
    def headers(self) -> Headers:
        """The caller's own."""
        return self.memo.headers


class FastLane:
    """Takes requests from lanes; of one worker."""

    def __init__(  # noqa: PLR0913  all but the last three are collaborators
        self,
        images: Images,
        permissions: Permissions,
        meter: Meter,
        witness: Witness,
        identities: Identities | None = None,
        *,
        log_requests: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the one that `permissions` go by."""
        self.images = images
        self._clock = clock
        self._permissions = permissions
        self._meter = meter
        self._hit = meter.counting(
            Term(FAST_REQUESTS), Term(FILE_REQUESTS), Term(REQUESTS, ("hit",))
        )
        self._served = meter.counting(Term(SERVED_BYTES, ("cache",)))
        self._waited = meter.observing(TIME_TO_FIRST_BYTE, "hit")
        self._witness = witness
        self._identities = identities
        self._log_requests = log_requests
        self._tells = log_requests or witness.notifies
        self._date_until = 0.0  # of the clock
        self._date = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<FastLane, {len(self._tasks)} answers being brought>"

    # --- deciding ---------------------------------------------------------------------------------

    def begin(self, lane: Lane, data: bytes) -> bool:
        """Take a request, and answer it or begin to; see `lane.Fast`."""
        memo = lane.memo
        wanted = memo.repeat.read(data) if isinstance(memo, Memo) and memo.repeat else None
        if wanted is None:
            asked = ordinary(data)
            if asked is None:
                return False
            memo = self._memo(memo, asked.image_id, asked.fields)
            if memo is None:
                return False
            if memo.repeat is None and asked.first >= 0:
                memo.repeat = Repeat.of(data)
            lane.memo, wanted = memo, (asked.first, asked.last)
        assert isinstance(memo, Memo)
        # Authorise first: nothing below is looked at for one whom the upstream has not just allowed.
        now = self._clock()
        if memo.belief is None or now >= memo.belief.until:
            memo.belief = self._permissions.belief(memo.key, now)
            if memo.belief is None:
                return False
            memo.stay()
        known = memo.known
        if known is None or now >= known.until:
            known = memo.known = self.images.memory.current(memo.image_id)
            if known is None:
                return False
        (first, last), size = wanted, known.facts.size
        whole = first < 0
        start, stop = (0, size) if whole else (first, size if not 0 <= last < size else last + 1)
        if start >= stop:
            return False
        reply = Reply(lane, memo, known, start, stop, whole, now)
        return self._copy(reply) if stop - start <= COPIED_BYTES_MAX else self._send(reply)

    def _memo(self, last: object, image_id: str, lines: bytes) -> Memo | None:
        """Return what a request says; None if its fields are not ordinary."""
        if isinstance(last, Memo) and last.lines == lines:
            memo = last.others.get(image_id)
            if memo is not None:
                return memo
            memo = Memo(image_id, lines, last.headers, last.asked_id)
            memo.others = last.others
        else:
            fields = read_fields(lines)
            if fields is None or len(fields.request_id) > REQUEST_ID_LENGTH_MAX:
                return None
            memo = Memo(image_id, lines, *fields)
        memo.key = self._permissions.key(image_id, memo.headers)
        return memo

    # --- answering --------------------------------------------------------------------------------

    def _copy(self, reply: Reply) -> bool:
        """Answer at once with a copy; False if that takes the disk."""
        data = self.images.at_hand(reply.known, reply.start, reply.stop)
        if data is None:
            return False
        reply.lane.outlet.write(self._head(reply) + data)
        self._at_once(reply)
        return True

    def _send(self, reply: Reply) -> bool:
        """Answer from the files themselves, or begin to; False if that takes the disk."""
        outlet, start = reply.lane.outlet, reply.start
        first_stop = min(reply.stop, start + WINDOW_BYTES)
        parts = self.images.parts(reply.known, start, first_stop)
        if parts is None or not outlet.send_head(self._head(reply), parts[-1]):
            return False
        while parts and outlet.send_now(parts[-1]):
            parts.pop()
        if parts or first_stop < reply.stop:
            # Nothing has happened since they were found: they are still open.
            self.images.hold(parts)
            sent_bytes = first_stop - start - sum(map(len, parts))
            seconds = self._clock() - reply.began
            reply.lane.sends(Answer(self, reply, parts, sent_bytes, seconds))
        else:
            self._at_once(reply)
        return True

    def _head(self, reply: Reply) -> bytes:
        if reply.began >= self._date_until:
            wall = time.time()
            self._date = formatdate(int(wall), usegmt=True)
            self._date_until = reply.began + 1 - wall % 1
        return reply.memo.head(reply, self._date)

    # --- what has ended ---------------------------------------------------------------------------

    def _at_once(self, reply: Reply) -> None:
        """All of a reply was sent in one go."""
        self._hit(1)
        size = reply.stop - reply.start
        self._served(size)
        self._waited(self._clock() - reply.began)
        if self._tells:
            self._tell(reply, size, "hit")
        else:
            self._witness.used(reply.known.facts.image_id)

    def ended(self, answer: Answer[Reply], result: str) -> None:
        """Count an answer, and tell of it; see `answer.Account`."""
        self._meter.inc(FAST_REQUESTS)
        self._meter.inc(FILE_REQUESTS)
        self._meter.inc(REQUESTS, 1, result)
        self._meter.observe(TIME_TO_FIRST_BYTE, answer.first_byte_seconds, result)
        self._served(answer.memory_bytes)
        self._tell(answer.reply, answer.sent_bytes, result)

    def _tell(self, reply: Reply, sent_bytes: int, result: str) -> None:
        address, memo = reply.lane.address, reply.memo
        sent = Sent(reply.facts, reply.stop - reply.start, sent_bytes, result)
        self._witness(sent, address, memo.token)
        if self._log_requests:
            entry = Entry(
                remote=address,
                method="GET",
                path=f"/v2/images/{memo.image_id}/file",
                status=200 if reply.whole else 206,
                sent_bytes=sent_bytes,
                seconds=self._clock() - reply.began,
                result=result,
                request_id=reply.request_id,
                asked_id=memo.asked_id or "-",
            )
            write(access_log, entry, self._identities, memo.token)

    def owns(self, task: asyncio.Task[None]) -> None:
        """See to the end of a task that brings what has left memory."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is still being brought."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
