"""Bytes in memory, as the body of a request."""

from __future__ import annotations

from typing import NoReturn

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

SLICE_BYTES = 1 << 18  # handed to the transport at once


class S3Body(Payload):
    """A body that is sent without a copy, as often as it must be.

    aiohttp would hand files to threads piece by piece, and warns of long byte strings.
    """

    def __init__(self, data: bytearray) -> None:
        super().__init__(data)
        self.data = data
        self._size = len(data)
        self.is_sent = False  # whole, to the kernel at least: the server may act on it

    def read(self) -> NoReturn:
        """Botocore takes for a body only what has this; nobody calls it."""
        raise NotImplementedError

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return what aiohttp shows of a body, which is nothing."""
        del encoding, errors
        return ""

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send everything."""
        view = memoryview(self.data)
        for start in range(0, len(view), SLICE_BYTES):
            await writer.write(view[start : start + SLICE_BYTES])
        self.is_sent = True
