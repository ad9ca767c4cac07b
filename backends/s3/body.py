"""Bytes in memory, as the body of a request: sent without a copy, as often as it must be."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

Piece = bytes | bytearray | memoryview

SLICE_BYTES = 1 << 18  # handed to the transport at once
_COPIED_BELOW = 1 << 16  # bytes; each piece costs a call to send


class Pieces:
    """Bytes that are gathered for a body.  What cannot change any more is kept, not copied."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[Piece] = []
        self._copied = bytearray()

    def add(self, view: memoryview) -> None:
        """Append bytes, of which the caller may make something else."""
        self.size += len(view)
        if isinstance(view.obj, bytes) and len(view) >= _COPIED_BELOW:
            self._end_copied()
            self._pieces.append(view)
        else:
            self._copied += view
            if len(self._copied) >= SLICE_BYTES:
                self._end_copied()

    def body(self) -> S3Body:
        """Return them all; nothing may be added any more."""
        self._end_copied()
        return S3Body(self._pieces)

    def _end_copied(self) -> None:
        if self._copied:
            self._pieces.append(self._copied)
            self._copied = bytearray()


class S3Body(Payload):
    """A body of pieces; it tells their digest once that was computed.

    aiohttp would hand files to threads piece by piece, and warns of long byte strings.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        super().__init__(pieces)
        self._pieces = pieces
        self._size = self.length = sum(map(len, pieces))
        self.is_sent = False  # whole, to the kernel at least: the server may act on it
        self.sha256 = ""  # in hex, as signatures have it

    async def compute_digest(self) -> None:
        """Compute it, in a thread: the loop has other things to do."""
        self.sha256 = await asyncio.to_thread(self._digest)

    def read(self) -> bytes:
        """Return all bytes: botocore takes for a body only what can be read."""
        return b"".join(self._pieces)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return what aiohttp shows of a body, which is nothing."""
        del encoding, errors
        return ""

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send everything."""
        for piece in self._pieces:
            view = memoryview(piece)
            for start in range(0, len(view), SLICE_BYTES):
                await writer.write(view[start : start + SLICE_BYTES])
        self.is_sent = True

    def _digest(self) -> str:
        whole = hashlib.sha256(usedforsecurity=False)
        for piece in self._pieces:
            whole.update(piece)
        return whole.hexdigest()
