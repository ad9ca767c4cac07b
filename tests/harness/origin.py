"""An upstream in the test's own process that plays a Glance, and can be told to play a bad one.

    async with origin() as glance:
        image = glance.add(b"...", ranges="refused")
        hold = image.hold_at(1000)
        ...
        await hold.reached.wait()   # 1000 bytes are on their way, no more will come
        hold.release.set()

It knows `/`, `/versions`, a show, a delete, a published manifest, and the data with Glance's own
permission question (an unsatisfiable range: 416).  It counts what it sends.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import unquote

from backends.manifest import MEDIA_TYPE
from harness.publication import Part, Publication, publication
from harness.raw_origin import Peer, RawOrigin, Request, raw_origin

PIECE_BYTES = 1 << 16
IMAGE_PATH = re.compile(r"/v2/images/([^/?]+)(/file|/manifest|/locations)?")
PAGES = re.compile(r"page=(\d+)&pages=(\d+)")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")
VERSIONS = {"versions": [{"id": "v2.17", "status": "CURRENT", "links": []}]}

# How `Range` is answered: 206; 400 as most Glance stores do; 200 with everything.
Ranges = Literal["yes", "refused", "ignored"]
# How the end of a whole image is told: Content-Length; the same, and the connection ends with it;
# chunks; the end of an HTTP/1.0 answer.
Framing = Literal["length", "length and close", "chunked", "close"]


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of an image, which may be too many to be in memory."""

    size: int
    read: Callable[[int, int], bytes]  # from a start to a stop

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Return the content of these bytes."""
        return cls(len(data), lambda start, stop: data[start:stop])

    @classmethod
    def zeros(cls, size: int) -> Content:
        """Return a content of nothing but zeros."""
        return cls(size, lambda start, stop: bytes(stop - start))


@dataclass(frozen=True, slots=True)
class Hold:
    """A barrier: the origin sets `reached` before the byte at `position` and waits for `release`.

    Answers to questions do not stop at it.
    """

    position: int
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class OriginImage:
    """An image, how it is served, and what was sent of it; change it at any time."""

    id: str
    content: Content
    record: dict[str, Any]
    ranges: Ranges = "yes"
    framing: Framing = "length"
    holds: list[Hold] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)  # the next answers that get there are reset there
    politely: bool = False  # or rather closed, as by a server that ends
    wrong_at: int | None = None  # the byte at this position is sent wrong
    wrong_times: int | None = None  # so often, then right; None: always
    surplus: int = 0  # bytes sent, and promised, beyond the size that the record tells (or fewer)
    tokens: set[str] | None = None  # who may download; None: everybody, also without a token
    refusal: int = 403  # for everybody else
    show_status: int = 200
    question_status: int = 416
    data_status: int = 200  # for whoever may: anything else is answered instead of data
    data_fields: tuple[str, ...] = ()  # what is said besides with such a status
    preferable: set[str] | None = None  # stores that `?prefer=` may name; None: any; else 400
    preferring_tokens: set[str] | None = None  # who may use it; None: everybody, else 403
    show_tokens: set[str] | None = None  # who may see the record; None: everybody
    locations: list[dict[str, Any]] | None = None  # what the locations API tells; None: 404
    location_tokens: set[str] | None = None  # to whom; None: everybody, else 403
    location_requests: int = 0
    shows: int = 0
    questions: int = 0
    data_requests: list[str | None] = field(default_factory=list)  # the Range of each
    sent_bytes: int = 0  # of data; not those that answer a question
    publication: Publication | None = None  # answered at `/manifest`

    def publish(self, chunk_bytes: int) -> Publication:
        """Publish a right manifest, and name it in the record."""
        content = self.content
        self.publication = publication(content.size, content.read, chunk_bytes)
        self.record["os_manifest"] = self.publication.name
        return self.publication

    def hold_at(self, position: int) -> Hold:
        """Hold all answers before the byte at `position`, until released."""
        hold = Hold(position)
        self.holds.append(hold)
        return hold

    @property
    def sent_size(self) -> int:
        """What this origin takes for the image's size."""
        return self.content.size + self.surplus

    def lied(self, start: int, stop: int) -> None:
        """Count a wrong byte that was sent with this span."""
        if self.wrong_times is not None and self.wrong_at in range(start, stop):
            self.wrong_times -= 1
            if not self.wrong_times:
                self.wrong_at = None

    def bytes_at(self, start: int, stop: int) -> bytes:
        """Return what is sent of a span, lies included."""
        data = self.content.read(start, min(stop, self.content.size)).ljust(stop - start, b"\xff")
        if self.wrong_at is None or not start <= self.wrong_at < stop:
            return data
        lie = bytearray(data)
        lie[self.wrong_at - start] ^= 1
        return bytes(lie)


@dataclass(eq=False, slots=True)
class Origin:
    """The running upstream."""

    raw: RawOrigin
    images: dict[str, OriginImage] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return the base URL."""
        return self.raw.url

    def add(
        self, content: bytes | Content, *, record: dict[str, Any] | None = None, **how: Any
    ) -> OriginImage:
        """Add an image with right hashes (bytes only; else none); `record` overrides its fields."""
        known: dict[str, Any] = {"checksum": None, "os_hash_algo": None, "os_hash_value": None}
        if isinstance(content, bytes):
            known = {
                "checksum": hashlib.md5(content).hexdigest(),
                "os_hash_algo": "sha512",
                "os_hash_value": hashlib.sha512(content).hexdigest(),
            }
            content = Content.of(content)
        identity = str(uuid.uuid4())
        fields = {
            "id": identity,
            "name": "test",
            "status": "active",
            "size": content.size,
            "visibility": "shared",
            "owner": "someone",
            "disk_format": "raw",
            "container_format": "bare",
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
            **known,
            **(record or {}),
        }
        image = OriginImage(identity, content, fields, **how)
        self.images[identity] = image
        return image


@asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    """Run an upstream without images until the context is left."""
    images: dict[str, OriginImage] = {}

    async def script(peer: Peer) -> None:
        while await _answer(peer, await peer.request(), images):
            pass

    async with raw_origin(script) as raw:
        yield Origin(raw, images)


async def _answer(peer: Peer, request: Request, images: dict[str, OriginImage]) -> bool:
    """Answer one request; tell whether the connection goes on."""
    path = request.target.partition("?")[0]
    found = IMAGE_PATH.fullmatch(path)
    image = images.get(found[1]) if found else None
    if path in {"/", "/versions"}:
        await _send_document(peer, 300 if path == "/" else 200, VERSIONS)
    elif found is None or image is None:
        head = request.method == "HEAD"  # which Glance does not know of data, there or not
        await _send_refusal(peer, 405 if head and found else 404, with_body=not head)
    elif found[2] == "/manifest":
        return await _answer_manifest(peer, request, image)
    elif found[2] == "/locations":
        await _answer_locations(peer, request, image)
    elif found[2]:
        return await _answer_data(peer, request, image)
    elif request.method == "DELETE":
        del images[image.id]
        await peer.send(_head(204, "text/plain"))
    else:
        image.shows += 1
        if image.show_tokens is not None and request.one("x-auth-token") not in image.show_tokens:
            await _send_refusal(peer, image.refusal)
        elif image.show_status == 200:
            await _send_document(peer, 200, image.record)
        else:
            await _send_refusal(peer, image.show_status)
    return True


async def _answer_data(peer: Peer, request: Request, image: OriginImage) -> bool:
    wanted = request.one("range")
    start, stop = _span(wanted, image.sent_size)
    question = wanted is not None and start >= image.sent_size
    if question:
        image.questions += 1
    else:
        image.data_requests.append(wanted)
    if refusal := _refusal(request, image, question=question):
        fields = image.data_fields if refusal == image.data_status else ()
        await _send_refusal(peer, refusal, *fields, with_body=request.method != "HEAD")
        return True
    if image.ranges == "ignored":
        start, stop = 0, image.sent_size
    partial = wanted is not None and image.ranges == "yes"
    return await _send_data(peer, image, start, stop, partial=partial, counted=not question)


async def _answer_locations(peer: Peer, request: Request, image: OriginImage) -> None:
    image.location_requests += 1
    may = image.location_tokens is None or request.one("x-auth-token") in image.location_tokens
    if image.locations is None or not may:
        await _send_refusal(peer, 403 if image.locations is not None else 404)
    else:
        await _send_document(peer, 200, image.locations)


async def _answer_manifest(peer: Peer, request: Request, image: OriginImage) -> bool:
    given, query = image.publication, request.target.partition("?")[2]
    if given is None:
        await _send_refusal(peer, 404)
        return True
    wanted = PAGES.fullmatch(query)
    assert bool(wanted) == bool(query), query
    part: Part = "root" if wanted is None else "pages"
    body = given.body(None, 0) if wanted is None else given.body(int(wanted[1]), int(wanted[2]))
    if part in given.stalls:
        given.stalls[part].reached.set()
        await given.stalls[part].release.wait()
    if request.one("x-auth-token") in given.refused:
        await _send_refusal(peer, 403)
    elif part in given.status:
        await _send_refusal(peer, given.status[part])
    else:
        answer = _head(200, MEDIA_TYPE, f"Content-Length: {len(body)}") + body
        if given.cuts.get(part, 0) > 0:
            given.cuts[part] -= 1
            await peer.send(answer[: len(answer) - len(body) // 2])
            peer.reset()
            return False
        await peer.send(answer)
    return True


def _refusal(request: Request, image: OriginImage, *, question: bool) -> int | None:
    """Return the status that is answered instead of data, checked in Glance's order."""
    token, status = request.one("x-auth-token"), None
    preferred = set(unquote(request.target.partition("?prefer=")[2]).split(",")) - {""}
    if request.method != "GET":
        status = 405
    elif image.tokens is not None and token not in image.tokens:
        status = 401 if token is None else image.refusal
    elif preferred and image.preferring_tokens is not None and token not in image.preferring_tokens:
        status = 403
    elif image.preferable is not None and not image.preferable.issuperset(preferred):
        status = 400
    elif question and (image.ranges != "ignored" or image.question_status != 416):
        status = image.question_status
    elif image.data_status != 200:
        status = image.data_status
    elif request.one("range") is not None and image.ranges == "refused":
        status = 400
    return status


def _span(wanted: str | None, size: int) -> tuple[int, int]:
    """Return the span that a Range header asks for; one that starts at the size has nothing."""
    if wanted is None:
        return 0, size
    parsed = RANGE.fullmatch(wanted)
    if parsed is None or not (parsed[1] or parsed[2]):
        return size, size
    if not parsed[1]:
        return max(0, size - int(parsed[2])), size
    return int(parsed[1]), min(size, int(parsed[2]) + 1) if parsed[2] else size


async def _send_document(peer: Peer, status: int, document: Any) -> None:
    body = json.dumps(document).encode()
    await peer.send(_head(status, "application/json", f"Content-Length: {len(body)}") + body)


async def _send_refusal(peer: Peer, status: int, *fields: str, with_body: bool = True) -> None:
    body = b"" if status == 204 else f"{status} {HTTPStatus(status).phrase}".encode()
    head = _head(status, "text/plain", f"Content-Length: {len(body)}", *fields)
    await peer.send(head + body if with_body else head)


async def _send_data(
    peer: Peer, image: OriginImage, start: int, stop: int, *, partial: bool, counted: bool
) -> bool:
    fields = [f"Content-Range: bytes {start}-{stop - 1}/{image.sent_size}"] if partial else []
    framing = image.framing
    if partial and framing != "length and close":
        framing = "length"
    if framing == "chunked":
        fields.append("Transfer-Encoding: chunked")
    elif framing != "close":
        fields.append(f"Content-Length: {stop - start}")
    if framing == "length and close":
        fields.append("Connection: close")
    if image.record["checksum"] is not None:
        fields.append(f"Content-MD5: {image.record['checksum']}")
    version = "1.0" if framing == "close" else "1.1"
    head = _head(206 if partial else 200, "application/octet-stream", *fields, version=version)
    await peer.send(head)
    position = start
    while position < stop:
        if counted and not await _pass(peer, image, position):
            return False
        edges = (*(hold.position for hold in image.holds), *image.cuts)
        step = min([position + PIECE_BYTES, stop, *(edge for edge in edges if edge > position)])
        piece = image.bytes_at(position, step)
        if counted:
            image.sent_bytes += len(piece)
            image.lied(position, step)
        position = step
        chunked = framing == "chunked"
        await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if counted and not await _pass(peer, image, position):
        return False
    if framing == "chunked":
        await peer.send(b"0\r\n\r\n")
    return framing not in ("close", "length and close")


async def _pass(peer: Peer, image: OriginImage, position: int) -> bool:
    """Wait at the barriers of this position; tell whether the connection outlives its cuts."""
    for hold in image.holds:
        if hold.position == position:
            hold.reached.set()
            await hold.release.wait()
    if position in image.cuts:
        image.cuts.remove(position)
        if not image.politely:
            peer.reset()
        return False
    return True


def _head(status: int, kind: str, *fields: str, version: str = "1.1") -> bytes:
    lines = (
        f"HTTP/{version} {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {kind}",
        f"x-openstack-request-id: req-{uuid.uuid4()}",
        *fields,
    )
    return "\r\n".join([*lines, "", ""]).encode()
