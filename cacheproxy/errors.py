"""What can go wrong in the proxy, by what the caller can do about it.

    ProxyError
    ├── ConfigError            the configuration or the machine does not allow a start; says what to do
    ├── UpstreamError          the Glance behind the proxy
    │   ├── UpstreamUnreachableError   no (whole) answer: refused, timed out, cut in the middle
    │   ├── UpstreamAnswerError        an answer that is no image data; carries its status
    │   └── UpstreamLiesError          lengths, ranges or bytes that contradict each other
    ├── AccountError           the proxy's own account got no token from Keystone
    ├── IdentityError          Keystone does not say whose a token is
    ├── KeeperError            the keeper is away, hung or late: go on without it
    ├── CacheRefusedError      the cache will not hold this image now; stream it through
    │   ├── NoRoomError        everything evictable is in use; it might fit later
    │   ├── NeverFitsError     it is larger than the limit allows
    │   └── DistrustedError    its fills failed their proof too often; passed through for a while
    ├── PinsFullError          what is pinned already leaves no room for more; says what to do
    ├── BusyError              too many bypasses at once; ask again a little later
    ├── FillFailedError        a source failed before the bytes that a reader waits for
    │   └── RightLostError     the upstream refuses everybody whose right could be used
    └── ProofFailedError       the bytes do not match the image's hash: reset, never paper over

    StorageError is the disk's: DiskFullError, ReadOnlyDiskError, and ChunkLostError (gone or damaged:
    fetch it again).
    InvalidChunkError: bytes offered to the store are not what their manifest says.

HTTP status codes for these live in `web/errors.py` only.
"""

from __future__ import annotations

import errno

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)  # also no inodes


class ProxyError(Exception):
    """Any failure that the proxy itself names."""


class ConfigError(ProxyError):
    """The configuration or the machine does not allow a start; the message says what to do."""


class UpstreamError(ProxyError):
    """The Glance behind the proxy failed."""


class UpstreamUnreachableError(UpstreamError):
    """No answer, or not a whole one."""


class UpstreamAnswerError(UpstreamError):
    """An answer that carries no image data."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"upstream answered {status}: {reason}")
        self.status = status


class UpstreamLiesError(UpstreamError):
    """Lengths, ranges or bytes that contradict each other."""


class StoreFailedError(UpstreamError):
    """A store that was read in the upstream's stead failed, or gave what cannot be right.

    It is not asked for this again soon: whoever asks at once asks somebody else.
    """


class AccountError(ProxyError):
    """The proxy's own account got no token; the message holds no credential."""


class IdentityError(ProxyError):
    """Keystone does not say whose a token is; the message holds no credential."""


class KeeperError(ProxyError):
    """The keeper is away, hung or late: go on without it."""


class CacheRefusedError(ProxyError):
    """The cache will not hold this image now; stream it through."""


class NoRoomError(CacheRefusedError):
    """Everything that could be evicted is in use; it might fit later."""


class NeverFitsError(CacheRefusedError):
    """It is larger than the limit allows."""


class DistrustedError(CacheRefusedError):
    """Its fills failed their proof too often; passed through for a while."""


class PinsFullError(ProxyError):
    """What is pinned already leaves no room for more; the message says what to do."""


class BusyError(ProxyError):
    """Too many bypasses at once; ask again a little later."""


class FillFailedError(ProxyError):
    """A source failed before the bytes that a reader waits for."""


class RightLostError(FillFailedError):
    """The upstream refuses everybody whose right could be used; what came is kept."""


class ProofFailedError(ProxyError):
    """The bytes do not match the image's hash."""


class StorageError(ProxyError):
    """The cache's disk failed."""


class DiskFullError(StorageError):
    """One of `NO_SPACE`, or an index that may not grow."""


class ReadOnlyDiskError(StorageError):
    """EROFS."""


class ChunkLostError(StorageError):
    """A chunk file is gone, dying or damaged: fetch it again."""


class InvalidChunkError(ProxyError):
    """Bytes offered to the store are not what their manifest says."""
