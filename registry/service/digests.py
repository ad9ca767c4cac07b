"""The two hashes of an image, computed while its bytes pass by."""

from __future__ import annotations

import asyncio
import hashlib


class Digests:
    """The md5 and the configured hash of a stream; each runs in a thread, in order."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._hashes = (
            hashlib.md5(usedforsecurity=False),
            hashlib.new(algorithm, usedforsecurity=False),
        )

    async def update(self, data: bytes) -> None:
        """Add bytes; one call at a time."""
        await asyncio.gather(*(asyncio.to_thread(each.update, data) for each in self._hashes))

    @property
    def checksum(self) -> str:
        """The md5, in hex."""
        return self._hashes[0].hexdigest()

    @property
    def value(self) -> str:
        """The hash by `algorithm`, in hex."""
        return self._hashes[1].hexdigest()
