"""What a project uses of what it may use, in Glance's and Keystone's terms.

A quota is exact: what is being uploaded counts from its beginning, by what has been reserved for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.domain.errors import LimitExceededError

MIB = 1 << 20


class Resource(StrEnum):
    """What is limited, by Keystone's names of registered limits."""

    SIZE = "image_size_total"  # MiB in stores: each image as often as it is there
    STAGE = "image_stage_total"  # MiB on the way into a store
    COUNT = "image_count_total"  # images
    UPLOADING = "image_count_uploading"  # images whose data is on the way


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project uses; sizes in bytes, what is reserved included."""

    stored: int
    staged: int
    images: int
    uploading: int

    def counted(self, resource: Resource) -> int:
        """Return it as limits count it: sizes in whole MiB."""
        if resource is Resource.COUNT:
            return self.images
        if resource is Resource.UPLOADING:
            return self.uploading
        return self.bytes(resource) // MIB

    def bytes(self, resource: Resource) -> int:
        """Return the bytes of one of the two sizes."""
        return self.stored if resource is Resource.SIZE else self.staged


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a project may use.

    `storage` is the operator's own quota, in bytes, None without one; `limits` are Keystone's, -1 of
    what has none, and None where they are not asked for.  There is only one of the two.
    """

    project_id: str | None
    storage: int | None = None
    limits: Mapping[Resource, int] | None = None

    @property
    def are_infinite(self) -> bool:
        """Whether there is nothing to be held to."""
        return self.storage is None and self.limits is None

    def limit(self, resource: Resource) -> int | None:
        """Return Keystone's limit, None if there is none; what nobody registered is not to be had."""
        if self.limits is None:
            return None
        limit = self.limits.get(resource, 0)
        return None if limit < 0 else limit

    def require(self, resource: Resource, usage: Usage, more: int = 0) -> None:
        """Refuse more of a resource than Keystone's limit; `more` is bytes where that is a size."""
        limit = self.limit(resource)
        if limit is None:
            return
        used = usage.counted(resource)
        is_size = resource in {Resource.SIZE, Resource.STAGE}
        after = (usage.bytes(resource) + more) // MIB if is_size else used + more
        if after > limit:
            raise LimitExceededError(
                f"Project {self.project_id} is over a limit for [Resource {resource} is over limit "
                f"of {limit} due to current usage {used} and delta {after - used}]"
            )

    def room(self, resource: Resource, usage: Usage) -> int | None:
        """Return how many bytes more there may be, None for any number; below 0 if there are more."""
        if resource is Resource.SIZE and self.storage is not None:
            return self.storage - usage.stored
        limit = self.limit(resource)
        # All that counts as that many whole MiB.
        return None if limit is None else (limit + 1) * MIB - 1 - usage.bytes(resource)

    def require_storage(self, usage: Usage, size: int | None) -> None:
        """Refuse more data than the operator's quota; of unknown size (None), only where it is full."""
        if self.storage is None:
            return
        room = self.storage - usage.stored
        if room <= 0 if size is None else size > room:
            raise over_storage(size, room)


def over_storage(size: int | None, room: int) -> LimitExceededError:
    """Return the refusal of data that does not fit into the operator's quota."""
    return LimitExceededError(
        "Image exceeds the storage quota: The size of the data "
        f"{'of unknown size' if size is None else size} will exceed the limit. "
        f"{room} bytes remaining."
    )
