"""Everything that is not the cache's: streamed to the upstream and back as it stands.

What changes on the way: the hop-by-hop fields of RFC 9110 section 7.6.1 end here, `Host` is the
upstream's own, framing (chunks, `Expect`) is each connection's own, and links on the upstream's
`Host` are turned to the client's (`links.py`).  Path, query, tokens, ids, codings and statuses are
not touched, and no body but Glance's list of versions is held in memory: each side is read only as
fast as the other takes it.

Rules:

1. An answer is relayed as soon as its head is there, also in the middle of an upload (a refusal);
   the rest of the upload is then not forwarded, and the client is told `Connection: close`.
2. After the head of an answer, a failure resets the client's connection: nobody may take a part
   for the whole.
3. What cannot be answered: 503 with `Retry-After` means that nothing was done, ask again: there was
   no connection, or the request only reads.  Nova, glanceclient and keystoneauth try again on 503.
   502 and 504 (in time) mean that a change was sent and its outcome is not known; they do not
   repeat these.
4. A client that leaves ends its request to the upstream (the server runs with
   `handler_cancellation`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from cacheproxy.connections import (
    READING_METHODS,
    STALL_SECONDS_MAX,
    UpstreamNotReachedError,
    UpstreamSilentError,
)
from cacheproxy.errors import UpstreamUnreachableError
from cacheproxy.headers import Headers, relayed
from cacheproxy.links import VERSIONS_BYTES_MAX, lists_versions, location, versions
from cacheproxy.meter import Meter
from cacheproxy.metrics import PASSTHROUGH_REQUESTS
from cacheproxy.upstream import Answer, Upstream
from cacheproxy.versions import with_cache
from cacheproxy.web.errors import error_response, reset, response_for

# Of a request: the length of its answer's body, as far as it was sent.
SENT_BYTES = web.RequestKey("relayed_bytes", int)

CLIENT_GONE = 499  # nginx's word, for logs and metrics only: the client left before its answer
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_ABSOLUTE_FORM = re.compile(r"https?://([^/?#]+)", re.ASCII | re.IGNORECASE)
# Lenient, because a purge too many costs one question: any prefix, also /v2.9 or none.
_IMAGE_PATH = re.compile(r"/images/+([^/]+)")
_IMAGE = re.compile(
    r"/v2(?:\.\d+)?/images/[^/]+/?\Z", re.ASCII
)  # strict: nothing but the image itself


class PassThrough:
    """Answers requests with the upstream's own answers.

    `on_change` is called with an image's id around each request that may change who may download
    it: before it is sent, and again before its answer is relayed or when there is none (not after
    a 4xx, which changed nothing).  `on_deleted` is called when the upstream has deleted an image.
    `has_cache`: Glance's list of versions is to tell of an image cache, as this node has one.
    """

    def __init__(
        self,
        upstream: Upstream,
        meter: Meter,
        on_change: Callable[[str], None],
        on_deleted: Callable[[str], None],
        *,
        has_cache: bool = False,
    ) -> None:
        self._upstream = upstream
        self._meter = meter
        self._on_change = on_change
        self._on_deleted = on_deleted
        self._has_cache = has_cache

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and count it once, by the status that the client got."""
        passage = _Passage(request, self._has_cache)
        try:
            return await self._pass(passage)
        finally:
            self._meter.inc(PASSTHROUGH_REQUESTS, 1, str(passage.status))

    async def _pass(self, passage: _Passage) -> web.StreamResponse:
        request = passage.request
        target = _target(request)
        if target is None:
            return passage.own(400, "not a path")
        image_id = _changed_image(request.method, target)
        if image_id is not None:
            self._on_change(image_id)
        settled = False  # whether `on_change` needs no more call
        try:
            async with self._upstream.exchange(
                request.method, target, _fields(passage), passage.body()
            ) as answer:
                if image_id is not None and not 400 <= answer.status < 500:
                    self._on_change(image_id)
                settled = True
                if image_id is not None and _deletes(request.method, target, answer.status):
                    self._on_deleted(image_id)
                return await passage.relay(answer)
        except UpstreamUnreachableError as error:
            return passage.failed(error)
        finally:
            if image_id is not None and not settled:
                self._on_change(image_id)


class _Relayed(web.StreamResponse):
    """An answer of somebody else: aiohttp adds nothing to it but framing and a missing Date."""

    async def _prepare_headers(self) -> None:
        absent = [name for name in ("Content-Type", "Server") if name not in self.headers]
        await super()._prepare_headers()
        for name in absent:
            self.headers.pop(name, None)


@dataclass(eq=False)
class _Passage:
    """One request on its way, and what became of it."""

    request: web.BaseRequest
    has_cache: bool
    status: int = CLIENT_GONE
    answered: bool = False  # the upstream's answer has begun
    trouble: web.Response | None = None  # what the client's own body deserves

    def __post_init__(self) -> None:
        self.request[SENT_BYTES] = 0

    @property
    def expects(self) -> bool:
        """Whether the client waits with its body for our word."""
        expectation = self.request.headers.get("Expect", "").lower()
        return expectation == "100-continue" and self.request.version >= HttpVersion11

    def body(self) -> AsyncGenerator[bytes] | None:
        """Return the request's body; None: it has none."""
        return self._upload() if self.request.body_exists else None

    async def _upload(self) -> AsyncGenerator[bytes]:
        # Asked for the first piece: the upstream wants the body.
        if self.answered:
            raise _UploadBrokenError("answered without the body")
        if self.expects:
            await self.request.writer.write(CONTINUE)
            self.request.writer.output_size = 0  # as aiohttp does: no part of the answer
        while True:
            try:
                async with asyncio.timeout(STALL_SECONDS_MAX):
                    piece = await self.request.content.readany()
            except TimeoutError as error:
                self.trouble = error_response(408, "the request's body did not come")
                raise _UploadBrokenError("stalled") from error
            except (web.RequestPayloadError, HttpProcessingError) as error:
                self.trouble = error_response(400, "the request's body is malformed")
                raise _UploadBrokenError("malformed") from error
            except ConnectionError as error:
                self.trouble = web.Response(status=CLIENT_GONE)  # which nobody will read
                raise _UploadBrokenError("the client left") from error
            if not piece:
                return
            yield piece

    async def relay(self, answer: Answer) -> web.StreamResponse:
        """Send an answer on, as it comes."""
        self.answered = True
        request = self.request
        headers, begun = await self._linked(answer)
        response = _Relayed(status=answer.status, reason=answer.reason, headers=headers)
        unframed = request.version < HttpVersion11 and response.content_length is None
        if unframed or not request.content.at_eof():
            response.force_close()
        try:
            await response.prepare(request)
        except ValueError:  # control characters, which would be a head of somebody's own making
            return self.own(502, "the image service sent a malformed answer")
        self.status = answer.status
        try:
            while piece := begun or await answer.piece():
                begun = b""
                async with asyncio.timeout(STALL_SECONDS_MAX):
                    await response.write(piece)
                request[SENT_BYTES] += len(piece)
            await response.write_eof()
        except (UpstreamUnreachableError, TimeoutError):
            reset(request)
        except ConnectionError:
            pass  # the client left: the server knows
        return response

    async def _linked(self, answer: Answer) -> tuple[CIMultiDict[str], bytes]:
        """Return an answer's fields, and what was read of its body, with links for this client."""
        client = _reached(self.request)
        if client is None:
            return CIMultiDict(answer.headers), b""
        headers = CIMultiDict(
            (name, location(value, answer.base, client) if name.lower() == "location" else value)
            for name, value in answer.headers
        )
        if not lists_versions(_target(self.request) or "", answer.status):
            return headers, b""
        if self.request.method == "HEAD":
            headers.popall("Content-Length", None)  # of a document with other links
            return headers, b""
        begun = b""
        while piece := await answer.piece():
            begun += piece
            if len(begun) > VERSIONS_BYTES_MAX:
                return headers, begun  # it is something else
        begun = versions(with_cache(begun) if self.has_cache else begun, client)
        if "Content-Length" in headers:
            headers["Content-Length"] = str(len(begun))
        return headers, begun

    def failed(self, error: UpstreamUnreachableError) -> web.StreamResponse:
        """Answer without an answer."""
        if self.trouble is not None:
            return self._close(self.trouble)
        if isinstance(error, UpstreamNotReachedError) or self.request.method in READING_METHODS:
            return self._close(response_for(error))
        if isinstance(error, UpstreamSilentError):
            return self.own(504, "the image service did not answer; the outcome is not known")
        return self.own(502, "the image service broke off; the outcome is not known")

    def own(self, status: int, text: str) -> web.StreamResponse:
        """Answer in the proxy's own words."""
        return self._close(error_response(status, text))

    def _close(self, response: web.Response) -> web.StreamResponse:
        self.status = response.status
        if not self.request.content.at_eof():
            response.force_close()
        return response


class _UploadBrokenError(Exception):
    """A request's body that cannot go on; ends the request to the upstream."""


def _fields(passage: _Passage) -> Headers:
    request = passage.request
    headers = list(request.headers.items())
    if request.headers.get("Expect", "").lower() != "100-continue":
        return relayed(headers, "host")
    kept = relayed(headers, "host", "expect")
    if passage.expects and request.body_exists:
        kept.append(("Expect", "100-continue"))
    return kept


def _target(request: web.BaseRequest) -> str | None:
    """Return path and query as the client wrote them; None: the target is neither (`*`, a host).

    A fragment is not sent on, so nothing is concluded from it.
    """
    raw = request.raw_path.partition("#")[0]
    if request.method != "CONNECT" and (absolute := _ABSOLUTE_FORM.match(raw)):
        raw = raw[absolute.end() :]
        raw = raw if raw.startswith("/") else f"/{raw}"
    return raw if raw.startswith("/") else None


def _reached(request: web.BaseRequest) -> str | None:
    """Return the base URL by which the client reached us; None: it did not say."""
    absolute = _ABSOLUTE_FORM.match(request.raw_path)
    host = absolute[1] if absolute else request.headers.get("Host")
    return f"{request.scheme}://{host}" if host else None


def _changed_image(method: str, target: str) -> str | None:
    if method in READING_METHODS:
        return None
    match = _IMAGE_PATH.search(unquote(target.partition("?")[0]))
    return match[1] if match else None


def _deletes(method: str, target: str, status: int) -> bool:
    """Whether this answer means that an image is no more."""
    path = unquote(target.partition("?")[0])
    return method == "DELETE" and 200 <= status < 300 and bool(_IMAGE.search(path))
