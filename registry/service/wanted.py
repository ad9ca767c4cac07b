"""What is to be computed of an image that came without it, and what that has to agree with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from backends.manifest import PAGE_DIGESTS, PAGES_MAX, ManifestShape
from registry.domain.errors import ConflictError
from registry.domain.image import Image
from registry.domain.job import Job
from registry.domain.status import Status

_READABLE = frozenset({Status.IMPORTING, Status.ACTIVE, Status.DEACTIVATED})


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be computed: the arguments of a job.

    `algorithm` of the hash to be noted beside the md5, None if only a manifest is wanted;
    `expected` is the hash that the image's client told, for which the image waits; `task` is what
    the client sees of it.
    """

    chunk_bytes: int
    algorithm: str | None = None
    expected: str | None = None
    task: str | None = None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Read the arguments of a job."""
        return cls(**job.arguments)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a job."""
        return {
            "chunk_bytes": self.chunk_bytes,
            "algorithm": self.algorithm,
            "expected": self.expected,
            "task": self.task,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What was computed: hashes in hex by algorithm, and the digests of the manifest's pages."""

    hashes: Mapping[str, str]
    page_digests: bytes


class WrongDataError(ConflictError):
    """The data is not what the record, or a client, tells."""


def is_wanted(image: Image, work: Work) -> bool:
    """Tell whether the image still lacks what is to be computed, and may be read."""
    if image.status not in _READABLE or not image.locations or image.size is None:
        return False
    lacks_hash = work.algorithm is not None and image.os_hash_value is None
    lacks_manifest = image.os_manifest is None and shape_of(image, work) is not None
    return lacks_hash or lacks_manifest


def shape_of(image: Image, work: Work) -> ManifestShape | None:
    """Return how the manifest cuts the image; None if it is too long for one."""
    assert image.size is not None
    too_long = image.size > PAGES_MAX * PAGE_DIGESTS * work.chunk_bytes
    return None if too_long else ManifestShape(image.size, work.chunk_bytes)


def algorithms_of(image: Image, work: Work) -> list[str]:
    """Return which hashes are to be computed: to be noted, or to be held against the record."""
    wanted = {} if work.algorithm is None else {"md5": None, work.algorithm: None}
    return list(wanted | _known(image))


def _known(image: Image) -> dict[str, str | None]:
    """Return the hashes that the record has, by algorithm."""
    known: dict[str, str | None] = {}
    if image.checksum is not None:
        known["md5"] = image.checksum
    algorithm = image.os_hash_algo
    if algorithm in hashlib.algorithms_available and image.os_hash_value is not None:
        known[str(algorithm)] = image.os_hash_value
    return known


def require_agreement(image: Image, work: Work, found: Found) -> None:
    """Refuse data that is not what the record or its client tells of it."""
    told = _known(image)
    if work.algorithm is not None and work.expected is not None:
        told = {**told, work.algorithm: work.expected}
    for name, value in told.items():
        if value is not None and found.hashes[name] != value.lower():
            raise WrongDataError(
                f"The {name} of the data of image {image.id} is {found.hashes[name]}, not {value}"
            )
