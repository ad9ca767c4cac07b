"""JSON patches of an image: the two media types, what they may touch, and their effect.

    application/openstack-images-v2.1-json-patch   [{"op": "add", "path": "/x", "value": …}, …]
    application/openstack-images-v2.0-json-patch   [{"add": "/x", "value": …}, …]  (deprecated)

`add` of v2.1 replaces what is there, that of v2.0 refuses to.  Paths name one property; only
`locations` has an inside.  All of a patch happens, or none of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from registry.domain import access
from registry.domain.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    MediaTypeError,
)
from registry.domain.fields import CHANGEABLE, IGNORED, require_writable
from registry.domain.identity import Identity
from registry.domain.image import Image, Visibility
from registry.domain.limits import Limits
from registry.domain.locations import LocationChanges, LocationRules
from registry.domain.protection import Properties, require_use, shown
from registry.domain.status import Status
from registry.domain.validation import ImageValidator, check_text

Operation: TypeAlias = Literal["add", "remove", "replace"]

V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"
MEDIA_TYPES = (V20, V21)
OPERATIONS: tuple[Operation, ...] = ("add", "remove", "replace")
# How many parts a path has, where it is not one.
_DEPTHS: dict[str, dict[Operation, int]] = {"locations": {"add": 2, "remove": 2, "replace": 1}}
# Data is inspected, and verified, against what the record said when it began to come.
_DATA_IS_COMING = frozenset({Status.SAVING, Status.IMPORTING})
_SIGNATURE = "img_signature"  # how the names begin of all that says who signed the data


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a patch; `value` is None for a removal."""

    operation: Operation
    name: str
    value: Any
    may_exist: bool  # whether an `add` replaces
    position: str = ""  # in a list, where the path has a second part


def require_media_type(media_type: str) -> None:
    """Raise MediaTypeError for what is no patch of an image."""
    if media_type not in MEDIA_TYPES:
        raise MediaTypeError(
            f"Image PATCH expects Content-Type one of: {', '.join(MEDIA_TYPES)}", MEDIA_TYPES
        )


def parse_patch(media_type: str, body: Any, validator: ImageValidator) -> tuple[Change, ...]:
    """Read a patch, and refuse it where it could not fit any image."""
    require_media_type(media_type)
    if not isinstance(body, list):
        raise InvalidRequestError("Request body must be a JSON array of operation objects.")
    changes = [_parse_change(media_type, raw, validator) for raw in body]
    return tuple(change for change in changes if change.name not in IGNORED)


def _parse_change(media_type: str, raw: Any, validator: ImageValidator) -> Change:
    if not isinstance(raw, dict):
        raise InvalidRequestError("Operations must be JSON objects.")
    operation, pointer = _parse_v21(raw) if media_type == V21 else _parse_v20(raw)
    path = _decode_pointer(pointer)
    name = path[0]
    if len(path) != _DEPTHS.get(name, {}).get(operation, 1):
        raise InvalidRequestError(f"Invalid JSON pointer for this resource: '/{'/'.join(path)}'")
    if operation != "remove" and "value" not in raw:
        raise InvalidRequestError(f'Operation "{operation}" requires a member named "value".')
    if name == "id":
        raise ForbiddenError("Attribute 'id' is read-only.")
    require_writable(name)
    value = None if operation == "remove" else raw["value"]
    if operation != "remove" and name not in IGNORED:
        validator.check({name: [value] if len(path) > 1 else value})
    return Change(operation, name, value, media_type == V21, *path[1:])


def _parse_v21(raw: dict[str, Any]) -> tuple[Operation, Any]:
    for operation in OPERATIONS:
        if raw.get("op") == operation:
            if "path" not in raw:
                raise InvalidRequestError("Unable to find 'path' in JSON Schema change")
            return operation, raw["path"]
    raise InvalidRequestError(f"`op` must be one of the following: {', '.join(OPERATIONS)}.")


def _parse_v20(raw: dict[str, Any]) -> tuple[Operation, Any]:
    named = [operation for operation in OPERATIONS if operation in raw]
    if len(named) != 1:
        raise InvalidRequestError(
            'Operation objects must contain exactly one member named "add", "remove", or "replace".'
        )
    return named[0], raw[named[0]]


def _decode_pointer(pointer: Any) -> list[str]:
    """Split a JSON pointer (RFC 6901) of the limited kind that images have."""
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise InvalidRequestError(f'Pointer `{pointer}` does not start with "/".')
    if re.search(r"/\s*/", pointer[1:]):
        raise InvalidRequestError(f'Pointer `{pointer}` contains adjacent "/".')
    if len(pointer) > 1 and pointer.endswith("/"):
        raise InvalidRequestError(f'Pointer `{pointer}` end with "/".')
    if re.search(r"~(?![01])", pointer):
        raise InvalidRequestError(
            f'Pointer `{pointer}` contains "~" not part of a recognized escape sequence.'
        )
    check_text(pointer)
    parts = pointer.lstrip("/").split("/")
    return [part.replace("~1", "/").replace("~0", "~").strip() for part in parts]


def apply_patch(
    image: Image,
    changes: tuple[Change, ...],
    identity: Identity,
    limits: Limits,
    rules: LocationRules = LocationRules(),  # noqa: B008  # frozen
) -> Image:
    """Return the image after the patch.

    `UncheckedPlaceError` if `rules` do not know one of the places that it names.  Properties that the caller may not see are as if they were not there, but they stay.
    """
    visible = shown(identity, image.properties)
    hidden = {name: image.properties[name] for name in image.properties.keys() - visible.keys()}
    changed = replace(image, properties=visible)
    places = LocationChanges(identity, limits, rules)
    for change in changes:
        if change.name == "locations":
            changed = _change_locations(changed, change, places)
            continue
        _require_right(image, change, identity)
        if change.name in CHANGEABLE:
            changed = _change_field(changed, change)
        else:
            changed = _change_property(changed, change, hidden, identity)
    changed = replace(changed, properties=hidden | changed.properties)
    # An image that was over a lowered quota may still shrink, or change otherwise.
    if len(changed.tags) > len(image.tags):
        limits.require_tags(len(changed.tags))
    if len(changed.properties) > len(image.properties):
        limits.require_properties(len(changed.properties))
    return changed


def _change_locations(image: Image, change: Change, places: LocationChanges) -> Image:
    if change.operation == "add":
        return places.add(image, change.position, change.value)
    if change.operation == "replace":
        return places.replace(image, change.value)
    return places.remove(image, change.position)


def _require_right(image: Image, change: Change, identity: Identity) -> None:
    """Ask for the right to each change in Glance's order, which decides between 403 and 404."""
    if change.operation != "remove" and change.name == "owner":
        access.require_owner(identity, change.value)
    if change.operation != "remove" and change.name == "visibility":
        access.require_visibility(identity, image, Visibility(change.value))
    access.require_change(identity, image)


def _change_field(image: Image, change: Change) -> Image:
    name, value = change.name, change.value
    if change.operation == "remove":
        raise ForbiddenError(f"Property {name} may not be removed.")
    if change.operation == "add" and not change.may_exist:
        raise ConflictError(f"Property {name} already present.")
    if name in {"container_format", "disk_format"}:
        if image.status is not Status.QUEUED:
            raise ForbiddenError(f"Attribute {name} can be only replaced for a queued image.")
    elif name == "visibility":
        value = Visibility(value)
    elif name == "tags":
        value = tuple(sorted(set(value)))
    # The schema has checked the value; the name is one of CHANGEABLE.
    return replace(image, **{name: value})


def _change_property(image: Image, change: Change, hidden: Properties, identity: Identity) -> Image:
    if change.name.startswith(_SIGNATURE) and image.status in _DATA_IS_COMING:
        raise ConflictError(f"Property {change.name} cannot be changed while data is coming.")
    present = change.name in image.properties
    properties = dict(image.properties)
    if change.operation == "add":
        if present and not change.may_exist:
            raise ConflictError(f"Property {change.name} already present.")
    elif not present:
        raise ConflictError(f"Property {change.name} does not exist.")
    if change.operation == "remove":
        require_use(identity, "delete", [change.name])
        del properties[change.name]
    else:
        known = present and identity.may_use("read", change.name)
        exists = known or change.name in hidden
        require_use(identity, "update" if exists else "create", [change.name])
        properties[change.name] = change.value
    return replace(image, properties=properties)
