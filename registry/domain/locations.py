"""Changes of an image's locations by PATCH: their effect, and what must be known before.

Which places may be named, and how many bytes are there, only the stores know; so a patch is applied
with what was found of them, and stops at the first that nobody has looked at: `UncheckedPlaceError`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from registry.domain import access
from registry.domain.errors import ConflictError, ForbiddenError, InvalidRequestError
from registry.domain.identity import Identity
from registry.domain.image import Image, ImageLocation
from registry.domain.limits import Limits
from registry.domain.status import Status

STORE = "store"  # the key of a location's metadata that names its store, where there are several

_MD5_BYTES = 16
_CHANGEABLE = frozenset({Status.ACTIVE, Status.QUEUED})


@dataclass(frozen=True, slots=True)
class FoundPlace:
    """What its store told of a place: the store's name, where there are several, and the bytes there."""

    store: str | None
    size: int


class UncheckedPlaceError(Exception):
    """The patch names a place that has not been looked at, in a store that its client may name."""

    def __init__(self, url: str, store: str | None) -> None:
        super().__init__("a place has not been looked at")
        self.url = url
        self.store = store


def _unchanged(url: str) -> str:
    return url


@dataclass(frozen=True, slots=True)
class LocationRules:
    """What holds of locations, and what has been found of those that a patch names."""

    shown: bool = False  # only where records show locations may clients change them
    algorithm: str = "sha512"  # of os_hash_value
    shown_url: Callable[[str], str] = _unchanged  # as clients know it, without a password
    found: Mapping[str, FoundPlace] = field(default_factory=dict)

    def require(self, url: str, metadata: Mapping[str, Any]) -> tuple[ImageLocation, int]:
        """Return a place that a client names as the record is to name it, and the bytes there."""
        require_metadata(metadata)
        known = self.found.get(url)
        if known is None:
            raise UncheckedPlaceError(url, metadata.get(STORE))
        notes = {} if known.store is None else {STORE: known.store}
        return ImageLocation(url, {**metadata, **notes}), known.size


@dataclass(frozen=True, slots=True)
class LocationChanges:
    """Applies changes of `locations` to an image, in Glance's order of checks and words."""

    identity: Identity
    limits: Limits
    rules: LocationRules

    def add(self, image: Image, position: str, value: Mapping[str, Any]) -> Image:
        """Add a place; a queued image is active then."""
        access.require_change(self.identity, image, "set_image_location")
        self._require_shown("add")
        _require_status(image, _CHANGEABLE, "add")
        validation = new_validation(image, [value], self.rules.algorithm)
        where = _position(position, len(image.locations))
        if where is None:
            raise InvalidRequestError("Invalid position for adding a location.")
        self.limits.require_locations(len(image.locations) + 1)
        place, size = self.rules.require(value["url"], value["metadata"])
        if place in image.locations:
            raise _duplicate()
        places = list(image.locations)
        places.insert(where, place)
        return _placed(image, places, image.size or size, validation)

    def replace(self, image: Image, value: Sequence[Mapping[str, Any]]) -> Image:
        """Give a queued image its places, or places that there are already other metadata."""
        if not value:
            raise ForbiddenError("Cannot set locations to empty list.")
        access.require_change(self.identity, image, "set_image_location")
        self._require_shown("update")
        _require_status(image, _CHANGEABLE, "replace")
        validation = new_validation(image, value, self.rules.algorithm)
        self.limits.require_locations(len(value))
        if image.locations:
            return replace(image, locations=self._renewed(image.locations, value))
        found = [self.rules.require(each["url"], each["metadata"]) for each in value]
        places = [place for place, _ in found]
        if any(places.count(place) > 1 for place in places):
            raise _duplicate()
        return _placed(image, places, image.size or found[0][1], validation)

    def remove(self, image: Image, position: str) -> Image:
        """Take a place away; never the last."""
        access.require_change(self.identity, image, "delete_image_location")
        self._require_shown("remove")
        _require_status(image, {Status.ACTIVE}, "remove")
        if len(image.locations) == 1:
            raise ForbiddenError("Cannot remove last location in the image.")
        where = _position(position, len(image.locations) - 1)
        if where is None or where >= len(image.locations):
            raise InvalidRequestError("Invalid position for removing a location.")
        places = list(image.locations)
        del places[where]
        return replace(image, locations=tuple(places))

    def _require_shown(self, operation: str) -> None:
        if not self.rules.shown:
            raise ForbiddenError(
                f"It's not allowed to {operation} locations if locations are invisible."
            )

    def _renewed(
        self, places: Sequence[ImageLocation], value: Sequence[Mapping[str, Any]]
    ) -> tuple[ImageLocation, ...]:
        """Return the places that there are with new metadata, in a new order; no other places."""
        left = [(self.rules.shown_url(place.url), place) for place in places]
        if Counter(url for url, _ in left) != Counter(each["url"] for each in value):
            raise InvalidRequestError("Original locations is not empty.")
        renewed = []
        for each in value:
            require_metadata(each["metadata"])
            found = next(pair for pair in left if pair[0] == each["url"])
            left.remove(found)
            notes = {name: note for name, note in found[1].metadata.items() if name == STORE}
            renewed.append(replace(found[1], metadata={**each["metadata"], **notes}))
        return tuple(renewed)


def new_validation(
    image: Image, places: Sequence[Mapping[str, Any]], algorithm: str
) -> dict[str, str]:
    """Return the hashes that clients tell of places' data and the image has not yet.

    `ConflictError` if they contradict each other or the image, or cannot be such hashes.
    """
    told: dict[str, str] = {}
    for place in places:
        for name, value in place.get("validation_data", {}).items():
            if told.setdefault(name, value) != value:
                raise ConflictError(f"Conflicting values for {name}")
    new: dict[str, str] = {}
    for name, value in told.items():
        current = getattr(image, name)
        if current and value != current:
            raise ConflictError(f"{name} is already set with a different value")
        if value != current:
            new[name] = value
    if not new:
        return {}
    if image.status is not Status.QUEUED:
        raise ConflictError(
            f"New value(s) for {', '.join(new)} may only be provided when image status is 'queued'"
        )
    if "checksum" in new and _octets(new["checksum"]) != _MD5_BYTES:
        raise ConflictError(f"checksum ({new['checksum']}) is not a valid md5 (16 bytes, in hex)")
    if new.get("os_hash_algo") != algorithm:
        raise ConflictError(f"os_hash_algo must be {algorithm}, not {new.get('os_hash_algo')}")
    require_hash(algorithm, new["os_hash_value"], ConflictError)
    return new


def require_hash(
    algorithm: str, value: str, refusal: type[ConflictError | InvalidRequestError]
) -> None:
    """Refuse what cannot be a hash by an algorithm."""
    if _octets(value) is None:
        raise refusal(f"os_hash_value ({value}) is not a valid hexadecimal value")
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    if _octets(value) != size:
        raise refusal(
            f"os_hash_value ({value}) is not the correct size for {algorithm} "
            f"(should be {size} bytes)"
        )


def require_metadata(value: Any) -> None:
    """Refuse metadata of a place that are not texts, in lists and objects as deep as one likes."""
    if isinstance(value, Mapping):
        for inner in value.values():
            require_metadata(inner)
    elif isinstance(value, list):
        for inner in value:
            require_metadata(inner)
    elif not isinstance(value, str):
        raise InvalidRequestError("The metadata of a location are texts, in objects and lists.")


def require_formats(image: Image) -> None:
    """Refuse data of which nobody has said what it is."""
    missing = [name for name in ("disk_format", "container_format") if not getattr(image, name)]
    if missing:
        noun = "Property" if len(missing) == 1 else "Properties"
        raise InvalidRequestError(f"{noun} {', '.join(missing)} must be set prior to saving data.")


def _placed(
    image: Image, places: Sequence[ImageLocation], size: int, validation: Mapping[str, str]
) -> Image:
    placed = replace(image, locations=tuple(places), size=size)
    if image.status is not Status.QUEUED:
        return placed
    require_formats(image)
    return replace(
        placed,
        status=Status.ACTIVE,
        checksum=validation.get("checksum", image.checksum),
        os_hash_algo=validation.get("os_hash_algo", image.os_hash_algo),
        os_hash_value=validation.get("os_hash_value", image.os_hash_value),
    )


def _require_status(
    image: Image, statuses: frozenset[Status] | set[Status], operation: str
) -> None:
    if image.status not in statuses:
        raise ConflictError(
            f"It's not allowed to {operation} locations if image status is {image.status}."
        )


def _position(text: str, last: int) -> int | None:
    """Read a position: a number, `-` for the last; None of what is neither."""
    if text == "-":
        return last
    return int(text) if re.fullmatch(r"[0-9]+", text) else None


def _duplicate() -> InvalidRequestError:
    return InvalidRequestError("The location is there already.")


def _octets(text: str) -> int | None:
    try:
        return len(bytes.fromhex(text))
    except ValueError:
        return None
