"""Published manifests as they travel: root document, pages, and the name on the image's record.

A manifest lists the BLAKE3-256 digests of the chunks of one image, in order.  They are cut into
pages of `PAGE_DIGESTS`; the root document says how the image is cut and names each page by its
digest, and the name (`os_manifest`) names the root document by its own.  So whoever trusts the name
can check the root, then any page, then any chunk, each alone.

    root document, version 1, integers big-endian (docs/manifest.md has an example)
     0   8  magic, `MAGIC`
     8   2  version, 1
    10   2  algorithm of all digests, 1: BLAKE3-256
    12   4  bytes of a chunk: 256 KiB, 1 MiB or 4 MiB; the last chunk may be shorter
    16   8  bytes of the image
    24  32  digest of page 0, and so on
    page: the digests of its chunks, 32 bytes each; all pages but the last are full

One form for one content: two manifests of equal content, equally cut, are equal.  Pure; the hash
function is handed in.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias

Digest: TypeAlias = Callable[[bytes], bytes]  # BLAKE3-256 of what it is given

VERSION = 1
MEDIA_TYPE = "application/vnd.cacheproxy.manifest"
CHUNK_BYTES = (256 << 10, 1 << 20, 4 << 20)  # the sizes that a chunk can have
DIGEST_BYTES = 32
PAGE_DIGESTS = 1024
PAGE_BYTES = PAGE_DIGESTS * DIGEST_BYTES
PAGES_MAX = 4096  # of one manifest: 1, 4 or 16 TiB, 128 MiB of digests, a root of 128 KiB
REQUEST_PAGES_MAX = 64  # that one request may ask for: 2 MiB
MAGIC = b"CPXMANIF"

_HEAD = struct.Struct(">8sHHIQ")
HEAD_BYTES = _HEAD.size
_BLAKE3_256 = 1
_NAME = re.compile(r"1:([1-9][0-9]{0,9}):([0-9a-f]{64})", re.ASCII)


class ManifestError(ValueError):
    """Not a manifest, or not the one that it should be; the text says why and is safe to show."""


@dataclass(frozen=True, slots=True)
class ManifestShape:
    """How an image is cut: `size` and `chunk_bytes` in bytes.  `ManifestError` if it cannot be."""

    size: int
    chunk_bytes: int

    def __post_init__(self) -> None:
        if self.chunk_bytes not in CHUNK_BYTES:
            allowed = ", ".join(map(str, CHUNK_BYTES))
            raise ManifestError(f"chunks of {self.chunk_bytes} bytes; possible are {allowed}")
        if not 0 <= self.page_count <= PAGES_MAX:
            raise ManifestError(f"{self.size} bytes do not fit {PAGES_MAX} pages of a manifest")

    @property
    def chunk_count(self) -> int:
        """How many chunks there are; none of an empty image."""
        return -(-self.size // self.chunk_bytes)

    @property
    def page_count(self) -> int:
        """How many pages there are."""
        return -(-self.chunk_count // PAGE_DIGESTS)

    @property
    def root_bytes(self) -> int:
        """How long the root document is."""
        return HEAD_BYTES + self.page_count * DIGEST_BYTES

    def page_bytes(self, number: int) -> int:
        """How long one page is; `ManifestError` where there is no such page."""
        if not 0 <= number < self.page_count:
            raise ManifestError(f"page {number} of {self.page_count}")
        return min(PAGE_DIGESTS, self.chunk_count - number * PAGE_DIGESTS) * DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class ManifestName:
    """What the record shows as `os_manifest`: the size of the chunks, the digest of the root."""

    chunk_bytes: int
    root_digest: bytes

    def __str__(self) -> str:
        return f"{VERSION}:{self.chunk_bytes}:{self.root_digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text, exactly as `str()` writes it."""
        match = _NAME.fullmatch(text)
        if match is None or int(match[1]) not in CHUNK_BYTES:
            raise ManifestError("not the name of a manifest of this version")
        return cls(int(match[1]), bytes.fromhex(match[2]))


@dataclass(frozen=True, slots=True)
class ManifestRoot:
    """The root document: a shape, and the digests of its pages, concatenated."""

    shape: ManifestShape
    page_digests: bytes

    def __post_init__(self) -> None:
        wanted = self.shape.page_count * DIGEST_BYTES
        if len(self.page_digests) != wanted:
            raise ManifestError(f"{len(self.page_digests)} bytes of page digests, not {wanted}")

    def pack(self) -> bytes:
        """Return the document."""
        head = _HEAD.pack(MAGIC, VERSION, _BLAKE3_256, self.shape.chunk_bytes, self.shape.size)
        return head + self.page_digests

    @classmethod
    def unpack(cls, document: bytes) -> Self:
        """Read a document, of this version only, to its last byte."""
        if len(document) < HEAD_BYTES or not document.startswith(MAGIC):
            raise ManifestError("not a manifest")
        _, version, algorithm, chunk_bytes, size = _HEAD.unpack_from(document)
        if version != VERSION:
            raise ManifestError(f"a manifest of version {version}, not {VERSION}")
        if algorithm != _BLAKE3_256:
            raise ManifestError(f"a manifest of digests by the unknown algorithm {algorithm}")
        return cls(ManifestShape(size, chunk_bytes), document[HEAD_BYTES:])

    @classmethod
    def verify(cls, document: bytes, name: ManifestName, size: int, digest: Digest) -> Self:
        """Read the document that `name` names, of an image of `size` bytes; refuse any other."""
        if digest(document) != name.root_digest:
            raise ManifestError("the root of the manifest is not the one that the record names")
        root = cls.unpack(document)
        if root.shape != ManifestShape(size, name.chunk_bytes):
            raise ManifestError("the manifest is of another size than the record")
        return root

    def page_digest(self, number: int) -> bytes:
        """Return the digest of one page; `ManifestError` where there is no such page."""
        self.shape.page_bytes(number)
        return self.page_digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]

    def verify_pages(
        self, first: int, count: int, body: bytes, digest: Digest
    ) -> tuple[bytes, ...]:
        """Split what a request for `count` pages from `first` on answered, each page proven."""
        sizes = [self.shape.page_bytes(number) for number in range(first, first + count)]
        if len(body) != sum(sizes):
            raise ManifestError(f"{len(body)} bytes of pages, not {sum(sizes)}")
        pages: list[bytes] = []
        start = 0
        for number, size in enumerate(sizes, first):
            page = body[start : start + size]
            if digest(page) != self.page_digest(number):
                raise ManifestError(f"page {number} is not the one that the root names")
            pages.append(page)
            start += size
        return tuple(pages)
