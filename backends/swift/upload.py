"""Writing an image to Swift: as one object, or as segments that a manifest joins.

Small images of known size are one object.  Others are segments, sent as they come, several at
once as far as the buffer reaches, and then a manifest of Swift's dynamic large objects, which
glance_store reads and deletes like its own: `X-Object-Manifest: CONTAINER/NAME-UPLOAD-`, with the
segments `NAME-UPLOAD-00001`, …  `UPLOAD` differs from upload to upload, so that what an earlier
one has left, and what another one writes now, is never taken for a part of this one.

Swift cannot create an object only where there is none: it looks (`If-None-Match`), then writes.
So an upload looks again when all but its last bytes are there, and once more afterwards, whether
the object is its own.  Of two that end within the same moment in two processes, both may see that.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from backends.base import Writer, WriteResult
from backends.errors import DuplicateError, InvalidError, UnavailableError
from backends.location import Location
from backends.outlasting import finished
from backends.swift.client import Answer, Request, SwiftClient, Target, refusal
from backends.swift.large import MANIFEST, delete_each, manifest_header
from backends.swift.options import SwiftOptions
from backends.swift.part import Part
from backends.tally import Tally

_UPLOAD = "X-Object-Meta-Upload"  # whose an object is
_LOOKS = 5  # at a manifest, until the container lists all of its segments
_LOOK_PAUSE_SECONDS = 0.5
_CLEANUP_SECONDS = 120.0  # after that what is left is left for `clear`
_SEGMENT = re.compile(r"[0-9a-f]{8}-\d{5,}", re.ASCII)  # behind NAME-


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an upload goes; `publishing` is one lock for all uploads of that name here."""

    target: Target
    location: Location
    publishing: asyncio.Lock
    make_container: Callable[[Target], Awaitable[None]]


def is_segment(found: str, name: str) -> bool:
    """Tell whether an object is a segment of an upload of `name`, whichever."""
    return found.startswith(f"{name}-") and bool(_SEGMENT.fullmatch(found[len(name) + 1 :]))


class SwiftWriter(Writer):
    """An object in the making; `close` belongs in a finally."""

    def __init__(
        self,
        client: SwiftClient,
        options: SwiftOptions,
        destination: Destination,
        size: int | None,
    ) -> None:
        self._client = client
        self._options = options
        self._size = size
        self._target = target = destination.target
        self._location = destination.location
        self._publishing = destination.publishing
        self._make_container = destination.make_container
        self._tally = Tally(target.name, size)
        self._upload = secrets.token_hex(4)
        self._is_large = size is None or size >= options.large_object_bytes
        # A segment may begin and end within a piece: two more than the buffer has.
        self._room = asyncio.Semaphore(options.upload_buffer_bytes // options.piece_bytes + 2)
        self._places = asyncio.Semaphore(options.segments_at_once)
        self._tail: bytes | bytearray = b""  # the last bytes, never sent before the commit
        self._current: Part | None = None  # which takes bytes
        self._segments: dict[Part, asyncio.Task[None]] = {}
        self._object: tuple[Part, asyncio.Task[None]] | None = None
        self._is_broken = False
        self.is_kept = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; waits while too many are not sent yet."""
        view = memoryview(data).cast("B")
        self._tally.add(view.nbytes)
        while view:
            room = self._options.piece_bytes - len(self._tail)
            if not room:
                await self._flush()
            elif not self._tail and isinstance(data, bytes) and len(view) == len(data) <= room:
                self._tail = data  # not copied
                return
            else:
                if isinstance(self._tail, bytes):
                    self._tail = bytearray(self._tail)
                self._tail += view[:room]
                view = view[room:]

    async def publish(self) -> WriteResult:
        """Give the object its name."""
        self._tally.finish()
        if self._is_broken:
            raise InvalidError(f"{self._location}: some of it could not be written")
        if self._size is None and not self._segments:
            self._is_large = False  # it turned out to be small
        if self._is_large:
            await self._flush()
            if self._current is not None:
                self._current.end()
            await self._sent()
        async with self._publishing:
            if self._object is not None:
                await self._look_for_another()
            if self._is_large:
                self._begin_object(0, {MANIFEST: manifest_header(self._target, self._prefix)})
            else:
                await self._flush()
                if self._object is None:
                    self._begin_object(0)
            await self._sent()
            await self._look_for_own()
        return WriteResult(self._location, self._tally.written)

    def keep(self) -> None:
        """Let the object stay."""
        self.is_kept = True

    async def close(self) -> None:
        """Leave nothing behind of what was not kept, also if cancelled meanwhile."""
        if self.is_kept or not self._tasks:
            return
        try:
            await finished(self._clean_up(), _CLEANUP_SECONDS)
        except TimeoutError:
            raise UnavailableError(
                f"{self._location}: an unfinished upload could not be removed in time"
            ) from None

    @property
    def _prefix(self) -> str:
        """What the names of all segments begin with."""
        return f"{self._target.name}-{self._upload}-"

    @property
    def _tasks(self) -> list[tuple[Part, asyncio.Task[None]]]:
        whole = [] if self._object is None else [self._object]
        return [*self._segments.items(), *whole]

    async def _flush(self) -> None:
        """Hand the tail to parts, in the order of the bytes."""
        piece, self._tail = bytes(self._tail), b""
        is_broken, self._is_broken = self._is_broken, True  # until it ends
        while piece:
            await self._room.acquire()
            if failure := self._failure():
                self._room.release()
                raise failure
            part = self._current = self._current or self._begin()
            head, piece = piece[: part.left], piece[part.left :]
            part.feed(head)
            if not part.left:
                part.end()
                self._current = None
        self._is_broken = is_broken

    def _begin(self) -> Part:
        """Begin what the next bytes go to."""
        if not self._is_large:
            # Of unknown size and yet not large: all of it is in the piece that is flushed now.
            return self._begin_object(self._tally.written if self._size is None else self._size)
        limit = self._options.segment_bytes
        length = None
        if self._size is not None:
            length = min(limit, self._size - len(self._segments) * limit)
        part = self._part(f"{self._prefix}{len(self._segments) + 1:05d}", length, {})
        self._segments[part] = self._started(part)
        return part

    def _begin_object(self, length: int, headers: dict[str, str] | None = None) -> Part:
        """Begin the object that has the image's name; it must not be there."""
        marked = {"If-None-Match": "*", _UPLOAD: self._upload, **(headers or {})}
        part = self._part(self._target.name, length, marked)
        self._object = part, self._started(part)
        return part

    def _part(self, name: str, length: int | None, headers: dict[str, str]) -> Part:
        options = self._options
        longest = options.segment_bytes if length is None else length
        return Part(
            target=self._target.sibling(name),
            headers=headers,
            length=length,
            limit=longest,
            room=self._room,
            buffered_in=options.buffer_directory,
            is_verified=options.verify_uploads,
            keeps=longest * options.segments_at_once <= options.upload_buffer_bytes,
        )

    def _started(self, part: Part) -> asyncio.Task[None]:
        async def put() -> None:
            async with self._places:
                stall_seconds = self._options.stall_seconds
                await part.put(self._client, self._make_container, stall_seconds)

        return asyncio.create_task(put())

    def _failure(self) -> BaseException | None:
        """Return how one of the parts has failed."""
        ended = [task for _, task in self._tasks if task.done()]
        return next((error for task in ended if (error := task.exception())), None)

    async def _sent(self) -> None:
        """Wait until all parts are there."""
        tasks = [task for _, task in self._tasks]
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if failure := self._failure():
            raise failure

    async def _look(self) -> Answer:
        """Ask all servers that should have it; one that lags behind would do for reading."""
        newest = {"X-Newest": "true"}
        return await self._client.call(Request("HEAD", self._target, headers=newest))

    async def _look_for_another(self) -> None:
        if (await self._look()).status == HTTPStatus.OK:
            raise DuplicateError(f"{self._location}: is there already")

    async def _look_for_own(self) -> None:
        """Make sure that what is there now is what was written."""
        for _ in range(_LOOKS):
            found = await self._look()
            if found.status != HTTPStatus.OK:
                raise refusal(self._location, found.status)
            if found.headers.get(_UPLOAD) != self._upload:
                raise DuplicateError(f"{self._location}: was written by somebody else meanwhile")
            if found.headers.get("Content-Length") == str(self._tally.written):
                return
            await asyncio.sleep(_LOOK_PAUSE_SECONDS)
        raise UnavailableError(f"{self._location}: Swift does not show all that was written")

    async def _has_the_name(self) -> bool:
        """Tell whether what was written is there; else what has the name is another's."""
        found = await self._look()
        if found.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise refusal(self._location, found.status)
        return found.headers.get(_UPLOAD) == self._upload

    async def _clean_up(self) -> None:
        for part, task in self._tasks:
            if not part.is_sent:
                task.cancel()
        tasks = [task for _, task in self._tasks]
        await asyncio.wait(tasks, timeout=self._options.stall_seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._object is not None and await self._has_the_name():
            await delete_each(self._client, [self._target], 1)
        segments = [part.target for part in self._segments]
        await delete_each(self._client, segments, self._options.segments_at_once)
