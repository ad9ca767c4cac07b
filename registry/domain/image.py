"""The record of one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from registry.domain.status import Status


class Visibility(StrEnum):
    """Who sees an image, its owner and administrators apart."""

    PUBLIC = "public"  # everybody, in every list
    COMMUNITY = "community"  # everybody, but listed only when asked for
    SHARED = "shared"  # its members
    PRIVATE = "private"  # nobody


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """Where the data of an image is.  `url` may carry credentials and is never printed."""

    url: str = field(repr=False)
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image as the catalog knows it.  Sizes in bytes, `min_ram` in MiB, `min_disk` in GiB.

    `checksum` (md5) and `os_hash_value` are lower-case hex of the whole data, None until there is
    some; `os_manifest` names the manifest that the catalog made of it, None where it made none.  Times are UTC, without a zone.  Tags are sorted.  `properties` are the custom ones.
    `members` are the projects that a shared image is shared with, whatever they answered.
    `version` is the state of the record that this is, of the database's own counting.
    """

    id: str
    created_at: datetime
    updated_at: datetime
    name: str | None = None
    status: Status = Status.QUEUED
    visibility: Visibility = Visibility.SHARED
    owner: str | None = None
    protected: bool = False
    os_hidden: bool = False
    container_format: str | None = None
    disk_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    os_manifest: str | None = None
    tags: tuple[str, ...] = ()
    properties: dict[str, str | None] = field(default_factory=dict)
    locations: tuple[ImageLocation, ...] = ()
    members: tuple[str, ...] = ()
    version: int = 0
