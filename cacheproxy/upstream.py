"""The one client of the Glance behind the proxy, used in workers and in the keeper.

Statuses pass through here as facts; what they mean to a client is decided in `web/`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
import msgspec

from backends.spans import Span, parse_content_range
from cacheproxy.config import UpstreamSettings
from cacheproxy.connections import Upload, translated
from cacheproxy.core.facts import ImageFacts, image_facts
from cacheproxy.core.judgement import Word
from cacheproxy.endpoint import Question
from cacheproxy.endpoints import Endpoints
from cacheproxy.errors import (
    UpstreamAnswerError,
    UpstreamError,
    UpstreamLiesError,
    UpstreamUnreachableError,
)
from cacheproxy.fill.source import Sink
from cacheproxy.headers import Headers, end_to_end, relayed
from cacheproxy.meter import Meter
from cacheproxy.metrics import (
    MANIFEST_BYTES,
    PERMISSION_QUESTIONS,
    UPSTREAM_BYTES,
    UPSTREAM_REQUESTS,
)
from cacheproxy.rawbody import RawBody

# Past the end of every image, so that no size is needed: stock Glance checks token, visibility,
# status and policy, and then answers 416 without touching its store.
UNSATISFIABLE_RANGE = "bytes=9223372036854775807-"
DISCARD_BYTES_MAX = 64 << 10  # the longest body that is read only to keep its connection
RECORD_BYTES_MAX = 4 << 20  # the longest image record: Glance's quotas allow far less


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's answer: its head, and its body as it arrives."""

    base: str  # the URL of the upstream that gave it, without a slash at its end
    status: int
    reason: str
    headers: Headers  # without hop-by-hop fields
    response: aiohttp.ClientResponse

    async def piece(self) -> bytes:
        """Return what has arrived of the body, as it was sent; waits for some; empty: its end.

        UpstreamUnreachableError if the body is cut or stalls.
        """
        with translated():
            return await self.response.content.readany()

    async def into(self, sink: Sink, length: int, count: Callable[[int], None]) -> bool:
        """Have a plain body of `length` bytes received into a sink; False: `piece` has to give it.

        `count` is told how many come.  Raises what `piece` does, and what the sink does.
        """
        if self.response.headers.get("Transfer-Encoding") is not None:
            return False
        body = RawBody.take_over(self.response, length, count)
        if body is None:
            return False
        with translated():
            await body.into(sink)
        return True


@dataclass(frozen=True, slots=True)
class UpstreamBody:
    """Image data on its way from the upstream."""

    start: int  # the first byte's position in the image
    stop: int | None  # one past the last byte's; None: not told
    size: int | None  # of the whole image, where it is told
    ranged: bool  # whether it is the span asked for (206), not the whole image (200)
    bounded: bool  # whether its end can be told from a cut
    length: int | None  # of what is sent, where it is told before
    answer: Answer
    meter: Meter

    @property
    def span(self) -> Span | None:
        """What the body carries, if its end is told."""
        return None if self.stop is None else Span(self.start, self.stop)

    async def into(self, sink: Sink) -> bool:
        """Receive the bytes into a sink, without a copy in between, or until it has enough.

        False, and nothing has happened, where only `pieces` can give them.  UpstreamUnreachableError
        if they stop early or stall; and what the sink raises.
        """
        if self.length is None:
            return False
        return await self.answer.into(sink, self.length, self._count)

    def _count(self, count: int) -> None:
        self.meter.inc(UPSTREAM_BYTES, count)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the bytes as they arrive, exactly as many as promised.

        UpstreamUnreachableError if they stop early or stall, UpstreamLiesError if a body that
        ended in good order was shorter or longer than it said.
        """
        position = self.start
        while piece := await self.answer.piece():
            self.meter.inc(UPSTREAM_BYTES, len(piece))
            position += len(piece)
            if self.stop is not None and position > self.stop:
                raise UpstreamLiesError(f"more than the {self.stop - self.start} bytes promised")
            yield piece
        if self.stop is not None and position != self.stop:
            if not self.bounded:
                raise UpstreamUnreachableError("the upstream's answer was cut")
            raise UpstreamLiesError(f"{self.stop - position} bytes fewer than promised")


class Upstream:
    """Asks one Glance, at any of its URLs.  Build it on the loop that will use it; `close` it."""

    def __init__(self, settings: UpstreamSettings, meter: Meter) -> None:
        self._endpoints = Endpoints(settings, meter)
        self._meter = meter

    def __repr__(self) -> str:
        return f"Upstream({self._endpoints!r})"

    async def close(self) -> None:
        """End all connections; whoever still reads gets UpstreamUnreachableError."""
        await self._endpoints.close()

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: AsyncGenerator[bytes] | None = None,
    ) -> AsyncIterator[Answer]:
        """Send one request as it stands, and give its answer as soon as its head is there.

        `target` is path and query, already encoded, not touched.  `headers` are sent as they are
        (with the upstream's own `Host`).  `body` is not asked for its first piece before the
        upstream wants it (`Expect`), nor faster than the upstream takes it; leaving the context
        ends it, and ends the connection unless the answer was read to its end.
        UpstreamNotReachedError if nothing was sent (UpstreamDownError: nor tried), else
        UpstreamUnreachableError.
        """
        upload = None if body is None else Upload(body)
        try:
            reply = await self._endpoints.ask(Question(method, target, headers, upload))
            response = reply.response
            try:
                yield Answer(
                    reply.url,
                    response.status,
                    response.reason or "",
                    relayed(list(response.headers.items())),
                    response,
                )
            finally:
                response.close()
                await response.wait_for_close()
        finally:
            if upload is not None:
                await upload.ended()

    async def may_download(self, image_id: str, headers: Headers, query: str = "") -> Word | None:
        """Return the answer to the question "may I download this?"; None: unreachable.

        Asked with this query, as it stands.  Of an upstream that ignores ranges the body is not read.
        """
        asked = [*end_to_end(headers), ("Range", UNSATISFIABLE_RANGE)]
        return await self._word(_with(_data(image_id), query), asked)

    async def download_right(self, image_id: str, headers: Headers, query: str = "") -> Word | None:
        """Return the answer to the same question as our catalog knows it (docs/manifest.md)."""
        target = _with(f"{_image(image_id)}/download-right", query)
        return await self._word(target, end_to_end(headers))

    async def _word(self, target: str, asked: Headers) -> Word | None:
        self._meter.inc(PERMISSION_QUESTIONS)
        try:
            async with self.exchange("GET", target, asked) as answer:
                if answer.status >= 400:
                    await _discard(answer)
                return Word(answer.status, answer.headers)
        except UpstreamUnreachableError:
            return None

    async def show(self, image_id: str, headers: Headers) -> ImageFacts | None:
        """Return what the image's record tells this caller; None unless active and of known size.

        None as well if the upstream refuses, cannot be reached, or answers something else.
        """
        try:
            async with self.exchange("GET", _image(image_id), end_to_end(headers)) as answer:
                if answer.status != 200:
                    await _discard(answer)
                    return None
                text = await _read(answer, RECORD_BYTES_MAX)
        except UpstreamError:
            return None
        try:
            record: object = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return None
        return image_facts(image_id, record)

    async def manifest(
        self, image_id: str, headers: Headers, pages: range | None, bytes_max: int
    ) -> bytes:
        """Return pages of an image's published manifest, or with None its root document, unchecked.

        UpstreamAnswerError for any answer but 200, UpstreamLiesError for one of more than
        `bytes_max`, UpstreamUnreachableError for none.
        """
        target = f"{_image(image_id)}/manifest"
        if pages is not None:
            target += f"?page={pages.start}&pages={len(pages)}"
        async with self.exchange("GET", target, end_to_end(headers)) as answer:
            if answer.status != 200:
                await _discard(answer)
                raise UpstreamAnswerError(answer.status, answer.reason)
            body = await _read(answer, bytes_max)
        self._meter.inc(MANIFEST_BYTES, len(body))
        return body

    def read(
        self, image_id: str, headers: Headers, span: Span | None
    ) -> AbstractAsyncContextManager[UpstreamBody]:
        """Ask for a span of an image's data, or with None for all of it, without `Range`.

        An upstream without ranges may answer with the whole image (`ranged` is false then).
        UpstreamAnswerError for an answer without data (most Glance stores: 400 to any `Range`),
        UpstreamLiesError for one that contradicts the question or itself,
        UpstreamUnreachableError for none.  Leave the context early to stop the transfer.
        """
        return self._read(image_id, headers, span)

    @asynccontextmanager
    async def _read(
        self, image_id: str, headers: Headers, span: Span | None
    ) -> AsyncIterator[UpstreamBody]:
        self._meter.inc(UPSTREAM_REQUESTS)
        asked = end_to_end(headers)
        if span is not None:
            asked.append(("Range", span.range_header))
        async with self.exchange("GET", _data(image_id), asked) as answer:
            if answer.status not in (200, 206):
                await _discard(answer)
                raise UpstreamAnswerError(answer.status, answer.reason)
            yield _body(answer, span, self._meter)


def _body(answer: Answer, span: Span | None, meter: Meter) -> UpstreamBody:
    """Hold an answer's head against what was asked."""
    coding = _field(answer.headers, "content-encoding")
    if coding not in (None, "", "identity"):
        raise UpstreamLiesError("image data in a content coding that was not asked for")
    length = _length(answer.headers)
    bounded = length is not None or answer.response.headers.get("Transfer-Encoding") is not None
    if answer.status == 200:
        return UpstreamBody(0, length, length, False, bounded, length, answer, meter)
    told = _field(answer.headers, "content-range")
    if span is None or told is None:
        raise UpstreamLiesError("a part of the image that was not asked for, or not named")
    try:
        carried = parse_content_range(told)
    except ValueError as error:
        raise UpstreamLiesError(str(error)) from error
    end = span.stop if carried.size is None else min(span.stop, carried.size)
    if carried.span != Span(span.start, max(span.start, end)):
        raise UpstreamLiesError(f"asked for {span.range_header}, got {told}")
    if length is not None and length != len(carried.span):
        raise UpstreamLiesError(f"{length} bytes called {told}")
    start, stop = carried.span.start, carried.span.stop
    return UpstreamBody(start, stop, carried.size, True, bounded, length, answer, meter)


def _image(image_id: str) -> str:
    return f"/v2/images/{quote(image_id, safe='')}"


def _data(image_id: str) -> str:
    return f"{_image(image_id)}/file"


def _with(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def _field(headers: Headers, name: str) -> str | None:
    return next((value.strip() for key, value in headers if key.lower() == name), None)


def _length(headers: Headers) -> int | None:
    text = _field(headers, "content-length")
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


async def _read(answer: Answer, bytes_max: int) -> bytes:
    """Return a body that is not longer than this; UpstreamLiesError if it is."""
    read = bytearray()
    while piece := await answer.piece():
        read += piece
        if len(read) > bytes_max:
            raise UpstreamLiesError(f"an answer of more than {bytes_max} bytes")
    return bytes(read)


async def _discard(answer: Answer) -> None:
    """Read a short body to its end, so that the connection can be used again; leave a long one."""
    left = DISCARD_BYTES_MAX
    while piece := await answer.piece():
        left -= len(piece)
        if left < 0:
            return
