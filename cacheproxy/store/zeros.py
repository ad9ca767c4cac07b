"""All-zero chunks: never stored, served from one sparse file."""

from __future__ import annotations

import os
import struct

from cacheproxy.core.proof import Identity
from cacheproxy.store.digest import zero_digest
from cacheproxy.store.files import CHUNK_BYTES_MAX
from cacheproxy.store.index import Key, Table
from cacheproxy.store.writer import Writer

USUAL_SIZES = (256 << 10, 1 << 20, 4 << 20)  # of whole chunks; a last one may have any size
ODD_SIZES_MAX = 4096  # remembered; further ones are stored like any other chunk

_SIZE = struct.Struct("<I")


class Zeros:
    """Knows which digests are of zeros."""

    def __init__(self, writer: Writer, remembered: list[bytes], fd: int) -> None:
        """`remembered`: digests of odd sizes from the index; `fd` is owned from here on."""
        self._writer = writer
        self._fd = fd
        self._identity = Identity.of(os.fstat(fd))
        self._usual = {zero_digest(size) for size in USUAL_SIZES}
        self._odd = set(remembered)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._usual or digest in self._odd

    def learn(self, digest: bytes, size: int) -> bool:
        """Remember the digest of `size` zeros; False if it has to be stored instead."""
        if digest in self:
            return True
        if len(self._odd) >= ODD_SIZES_MAX:
            return False
        self._odd.add(digest)
        self._writer.write(Key(Table.ZEROS, digest), _SIZE.pack(size))
        return True

    def open(self, size: int) -> tuple[int, Identity]:
        """Return a descriptor, owned by the caller, of a file with at least `size` zeros."""
        assert 0 < size <= CHUNK_BYTES_MAX
        return os.dup(self._fd), self._identity

    def close(self) -> None:
        """Give the file up."""
        os.close(self._fd)
