"""The bounds of the catalog, with Glance's names and meaning (-1 lifts a quota)."""

from __future__ import annotations

from dataclasses import dataclass

from registry.domain.errors import LimitExceededError

NAME_LENGTH_MAX = 255  # names of images, tags, properties and owners, in characters
INTEGER_MAX = (1 << 31) - 1  # min_ram and min_disk: 32-bit columns
FILTERS_MAX = 100  # conditions of one list request; each is a part of one SQL statement


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator may bound."""

    image_property_quota: int
    image_tag_quota: int
    image_member_quota: int
    image_location_quota: int
    image_size_cap: int  # bytes
    limit_param_default: int  # images on a page
    api_limit_max: int

    def require_properties(self, count: int) -> None:
        """Refuse more custom properties than the quota allows."""
        self._require("properties", count, self.image_property_quota)

    def require_tags(self, count: int) -> None:
        """Refuse more tags than the quota allows."""
        self._require("tags", count, self.image_tag_quota)

    def require_locations(self, count: int) -> None:
        """Refuse more places of an image's data than the quota allows."""
        self._require("locations", count, self.image_location_quota)

    def require_members(self, image_id: str, count: int) -> None:
        """Refuse to share an image with more projects than the quota allows."""
        try:
            self._require("members", count, self.image_member_quota)
        except LimitExceededError as error:
            message = f"Image member limit exceeded for image {image_id}: {error}:"
            raise LimitExceededError(message) from None

    @staticmethod
    def _require(what: str, count: int, quota: int) -> None:
        if 0 <= quota < count:
            raise LimitExceededError(
                f"The limit has been exceeded on the number of allowed image {what}. "
                f"Attempted: {count}, Maximum: {quota}"
            )

    def require_size(self, size: int) -> None:
        """Refuse more data than one image may have."""
        if size > self.image_size_cap:
            raise LimitExceededError(
                f"The incoming image is too large: more than {self.image_size_cap} bytes"
            )
