"""All-zero chunks: never stored, served from one sparse file."""

from __future__ import annotations

import os
import struct

from cacheproxy.core.proof import Identity
from cacheproxy.store.files import CHUNK_BYTES_MAX
from cacheproxy.store.layout import Key, Table
from cacheproxy.store.writer import Writer

USUAL_SIZES = (256 << 10, 1 << 20, 4 << 20)  # of whole chunks; a last one may have any size
KNOWN_MAX = 4096  # sizes remembered; zeros of others are stored like any other chunk

_SIZE = struct.Struct("<I")


class Zeros:
    """Knows which digests are of zeros."""

    def __init__(self, writer: Writer, known: set[bytes], fd: int, identity: Identity) -> None:
        """`known`: digests of the usual sizes, and of others from the index; `fd` is taken over."""
        self._writer = writer
        self._known = known
        self._fd = fd
        self._identity = identity

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._known

    def learn(self, digest: bytes, size: int) -> bool:
        """Remember the digest of `size` zeros; False if it has to be stored instead."""
        if digest in self:
            return True
        if len(self._known) >= KNOWN_MAX:
            return False
        self._known.add(digest)
        self._writer.write(Key(Table.ZEROS, digest), _SIZE.pack(size))
        return True

    def open(self, size: int) -> tuple[int, Identity]:
        """Return a descriptor, owned by the caller, of a file with at least `size` zeros."""
        assert 0 < size <= CHUNK_BYTES_MAX
        return os.dup(self._fd), self._identity

    def close(self) -> None:
        """Give the file up."""
        os.close(self._fd)
