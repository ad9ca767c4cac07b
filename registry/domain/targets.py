"""What rules may ask of the thing that a call is about, by Glance's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from registry.domain.image import Image

_FIELDS = (
    *("name", "status", "visibility", "owner", "protected", "os_hidden", "container_format"),
    *("disk_format", "min_disk", "min_ram", "size", "virtual_size", "checksum", "os_hash_algo"),
    *("os_hash_value", "created_at", "updated_at", "id"),
)
_OTHER_NAMES = {"project_id": "owner", "image_id": "id"}


class ImageTarget(Mapping[str, Any]):
    """An image; read as it is asked, for a list has many.

    `member_id` is the caller's project where the image came to the caller by being shared.
    """

    def __init__(self, image: Image, member: str | None) -> None:
        self._image = image
        self._member = member

    def __getitem__(self, name: str) -> Any:
        if name in {"member_id", "member"}:
            return self._member
        name = _OTHER_NAMES.get(name, name)
        return getattr(self._image, name) if name in _FIELDS else self._image.properties[name]

    def __iter__(self) -> Iterator[str]:
        return iter(
            {*_FIELDS, *_OTHER_NAMES, "member_id", "member", *self._image.properties},
        )

    def __len__(self) -> int:
        return len(list(iter(self)))


def proposed_target(owner: str | None, visibility: str) -> Mapping[str, Any]:
    """Describe an image that is yet to be made."""
    return {"project_id": owner, "owner": owner, "visibility": visibility}
