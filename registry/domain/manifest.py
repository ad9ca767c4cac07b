"""The manifest of an image, as the catalog keeps it; `backends.manifest` says how it travels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ManifestPage:
    """The digests of up to 1,024 chunks, concatenated, and the digest of that."""

    digest: bytes
    chunk_digests: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """The name that the record shows as `os_manifest`, and the pages in order."""

    name: str
    pages: tuple[ManifestPage, ...]
