"""What a proof is bound to, and the bounded memory of proofs.  Pure.

A proof says: at this moment the open file with this identity held its digest.  It lives in memory
only, for a bounded time, and never survives a restart.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import NamedTuple, Protocol, Self

import msgspec

PROOFS_MAX = 65_536  # about 16 MiB of memory; an older proof is simply made again

_PACKED = struct.Struct("<QQQqqd")


class Status(Protocol):
    """What is needed of `os.stat_result`."""

    @property
    def st_dev(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """Which file it is and that nobody wrote to it: any write or link changes mtime or ctime."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: Status) -> Self:
        """Take the identity from an `fstat`."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


class Proof(NamedTuple):
    """Which file it was, and when."""

    identity: Identity
    at: float  # seconds of the caller's clock


class Proofs:
    """The proofs of the latest chunks; the clock is the caller's, in seconds."""

    def __init__(self, seconds: float, entries_max: int = PROOFS_MAX) -> None:
        self._seconds = seconds
        self._entries_max = entries_max
        self._packed: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._packed)

    def remember(self, digest: bytes, identity: Identity, at: float) -> None:
        """The file with this identity was written from, or read and hashed to, its digest."""
        self._packed[digest] = _PACKED.pack(
            identity.device,
            identity.inode,
            identity.size,
            identity.mtime_ns,
            identity.ctime_ns,
            at,
        )
        self._packed.move_to_end(digest)
        if len(self._packed) > self._entries_max:
            self._packed.popitem(last=False)

    def known(self, digest: bytes, now: float) -> Proof | None:
        """Return the proof of a chunk, None if there is none young enough."""
        packed = self._packed.get(digest)
        if packed is None:
            return None
        *fields, when = _PACKED.unpack(packed)
        if now - when >= self._seconds:
            del self._packed[digest]
            return None
        self._packed.move_to_end(digest)
        return Proof(Identity(*fields), when)

    def forget(self, digest: bytes) -> None:
        """The file is gone or damaged."""
        self._packed.pop(digest, None)
