"""What the index remembers of images and contents, packed and versioned.  Pure.

A record of another version, or one that cannot be read, is None: the index is a cache, and what it
cannot say is learnt again.  Fields are only ever added, behind the others and with a default, so
that records of before stay readable.
"""

from __future__ import annotations

from typing import Self

import msgspec

RECORD_VERSION = 1


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A version byte, then msgpack of the fields in order."""

    def pack(self) -> bytes:
        """Return the bytes that the index keeps."""
        return bytes([RECORD_VERSION]) + msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, packed: bytes) -> Self | None:
        """Return the record, None if these bytes are none of this version."""
        if packed[:1] != bytes([RECORD_VERSION]):
            return None
        try:
            return msgspec.msgpack.decode(packed[1:], type=cls)
        except msgspec.MsgspecError:
            return None


class ImageRecord(Record, frozen=True):
    """An image bound to a content, and what Glance said of the image then."""

    size: int
    checksum: str | None
    hash_algo: str | None
    hash_value: str | None
    content: str  # the content's key
    owner: str | None = None  # the project that its chunks are charged to
    seen: bool = False  # by the proxy's own account: only then does its 404 mean "gone"
    created_at: str | None = None  # the image, not this record; None where it was not noted
    bound_at: int = 0  # seconds since the epoch; 0: in a version that did not note it
    hits: int = 0  # answers that came from the cache alone
    hit_at: int = 0  # the last of them; 0: there was none


class ContentRecord(Record, frozen=True):
    """A content whose manifest is known, in whole or in part."""

    size: int
    chunk_bytes: int
    proven: bool  # the whole matched the hash that names it
    published: bool  # the manifest came from a catalog, not from a fill
    root: bytes | None = None  # of a published one: the digest of its root document
    about: bytes | None = None  # of one that is private to an image: a digest of what that is


class FeedPosition(Record, frozen=True):
    """How far a catalog's feed of changes was followed."""

    epoch: str
    seq: int
