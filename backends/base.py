"""The port of a store: a small ladder of asynchronous types, with named results.

`ReadStore` < `WriteStore` < `PruneStore`.  Behaviour (retry, limits, faults, …) is added by wrapping
a store in a store, so `repr()` of one shows the whole stack.  Errors: `backends.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeGuard, runtime_checkable

from backends.keptfile import KeptFile
from backends.location import Location
from backends.spans import Span


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store says of an object; `size` in bytes, None where it does not tell."""

    size: int | None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """A committed object: where it is, how many bytes it holds, and the driver's own notes."""

    location: Location
    size: int
    metadata: dict[str, str] = field(default_factory=dict)


class ReadStream(Protocol):
    """The bytes of one span, read once, in order; pieces are never empty.

    `size` is the whole object's, None until the source told it; `version` tells an object from
    another of the same name, None where the store has nothing of the kind.  The stream ends exactly at the
    span's end (or the object's, where the span was open): fewer or more bytes than promised are
    an `InvalidError` or `UnavailableError`, never a quiet end.
    """

    @property
    def size(self) -> int | None:
        """The whole object's size in bytes, where known."""

    @property
    def version(self) -> str | None:
        """What differs where the object was replaced (S3, HTTP: the strong entity tag)."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes; at most once."""


@runtime_checkable
class FileStream(ReadStream, Protocol):
    """A stream whose bytes lie in a file, and may be sent without being read by this process.

    Sending and iterating go on where the other one stopped, in any order.
    """

    def file(self) -> tuple[int, Span]:
        """Return an open descriptor, and what may be sent of it now without waiting for a disk.

        That begins at the next byte and is a part of what is left, empty where only iterating
        brings the next bytes.  The descriptor is valid inside the read's context.
        """

    def sent(self, count: int) -> None:
        """Note that the next `count` bytes were taken from the file."""

    def keep(self) -> KeptFile | None:
        """Return the file, to be kept open when the read has ended; None if it cannot be."""


def is_file(stream: ReadStream | None) -> TypeGuard[FileStream]:
    """Tell whether a stream is a `FileStream`: to ask a protocol takes as long as to open a file."""
    return hasattr(stream, "file")


class Writer(Protocol):
    """An object in the making: nothing is readable before it is published, nothing left unless kept."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""

    async def publish(self) -> WriteResult:
        """Give the object its name, whole; only once, and nothing may be written after it.

        It is taken away again with the context unless it is kept: this very one, never another that
        has its name by then.
        """

    def keep(self) -> None:
        """Let what was published stay; for when it is noted that it is there."""

    async def commit(self) -> WriteResult:
        """Publish the object, and keep it."""
        result = await self.publish()
        self.keep()
        return result


@runtime_checkable
class ReadStore(Protocol):
    """A store that can be read."""

    async def stat(self, location: Location) -> Stat:
        """Look at an object without reading it."""

    def read(
        self, location: Location, span: Span | None = None
    ) -> AbstractAsyncContextManager[ReadStream]:
        """Open an object, whole or one span of it.

        A span is clipped to the object (`Span.since` reads to its end, wherever that is); one
        that starts at or beyond the end reads as empty.  Leaving the context ends the reading,
        wherever it is.
        """

    async def aclose(self) -> None:
        """Give back what the store holds; it is not used after that."""


@runtime_checkable
class WriteStore(ReadStore, Protocol):
    """A store that can also be written."""

    def create(self, name: str, size: int | None = None) -> AbstractAsyncContextManager[Writer]:
        """Begin the object `name` (Glance: the image id), of `size` bytes where known.

        Leaving the context without `keep`, with or without an error, leaves nothing behind;
        so does a `publish` that fails or is cancelled.  Where the store does not let it, leaving is
        a `StoreError`, and `clear` does it later.  Names are what `checked_name` accepts,
        others are an `InvalidError`, and so is an object of more or fewer bytes than `size`; a
        name that exists is a `DuplicateError`, at the latest when it is published.
        """


@runtime_checkable
class PruneStore(WriteStore, Protocol):
    """A store whose objects can also be deleted."""

    async def require_unused(self, location: Location) -> None:
        """Raise `InUseError` where `delete` would, as far as the store can tell; change nothing."""

    async def delete(self, location: Location) -> None:
        """Delete an object; `MissingError` if it is not there."""

    async def clear(self, name: str) -> int:
        """Remove the object `name` and all that unfinished writers of it left; say how many things.

        For what a process left that died: whoever still writes that name fails, or has its work
        taken away.  It may be called again, also where nothing is there.
        """
