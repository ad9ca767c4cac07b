"""What a request to import asks for, when it may be granted, and what the record shows meanwhile.

Three custom properties that only the catalog writes tell of an import, as in Glance:

    os_glance_import_task          the task that imports; while it is there no other may begin
    os_glance_importing_to_stores  the stores that are still to come
    os_glance_failed_import        those that failed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from registry.domain.errors import ConflictError, InvalidRequestError
from registry.domain.image import Image
from registry.domain.status import Status

LOCK = "os_glance_import_task"
IMPORTING = "os_glance_importing_to_stores"
FAILED = "os_glance_failed_import"

DIRECT = "glance-direct"
WEB = "web-download"
COPY = "copy-image"
GLANCE = "glance-download"
METHODS = (DIRECT, WEB, COPY, GLANCE)


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What is to be imported, and where to.

    `body` is the client's words, and Glance's for what it does not say; `header` is the store that it
    names beside them.
    """

    method: str
    arguments: Mapping[str, Any] = field(repr=False)  # of the method; a URI may hold a password
    must_succeed: bool
    header: str | None
    body: Mapping[str, Any] = field(repr=False)


def parse_import(body: Any, header: str | None, enabled: Sequence[str]) -> ImportRequest:
    """Read the body of a request, and the store that a header names."""
    if not isinstance(body, dict):
        raise InvalidRequestError("An import is described by a JSON object.")
    method = body.get("method")
    if "method" not in body:
        raise InvalidRequestError("Import request requires a 'method' field.")
    if not isinstance(method, dict) or "name" not in method:
        raise InvalidRequestError("Import request requires a 'name' field.")
    name = method["name"]
    if not isinstance(name, str) or name not in enabled:
        raise InvalidRequestError(f"Unknown import method name '{name}'.")
    if name == GLANCE:
        method = {"glance_service_interface": "public", **method}
        body = {**body, "method": method}
    for flag in ("all_stores_must_succeed", "all_stores"):
        if not isinstance(body.get(flag, False), bool):
            raise InvalidRequestError(f"'{flag}' must be boolean value only")
    return ImportRequest(
        method=name,
        arguments=method,
        must_succeed=body.get("all_stores_must_succeed", True),
        header=header,
        body=body,
    )


def named_stores(request: ImportRequest) -> tuple[str | None, ...] | None:
    """Return the stores that a request names, None among them for the default one; None: all."""
    body, header = request.body, request.header
    if body.get("all_stores", False):
        if "stores" in body or header is not None:
            raise InvalidRequestError(
                "All_stores parameter can't be used with x-image-meta-store header or stores "
                "parameter"
            )
        return None
    if "stores" not in body:
        return (header,)
    if header is not None:
        raise InvalidRequestError(
            "Stores parameter and x-image-meta-store header can't be both specified"
        )
    stores = body["stores"]
    if not isinstance(stores, list) or not all(isinstance(each, str) for each in stores):
        raise InvalidRequestError("'stores' must be a list of names of stores")
    return tuple(dict.fromkeys(stores))


def require_importable(image: Image, request: ImportRequest) -> None:
    """Refuse a method that does not fit what the image is, in Glance's order."""
    method, status = request.method, image.status
    if status is Status.ACTIVE and method != COPY:
        raise ConflictError("Image with status active cannot be target for import")
    if status is not Status.ACTIVE and method == COPY:
        raise ConflictError("Only images with status active can be targeted for copying")
    if status is not Status.QUEUED and method in {WEB, GLANCE}:
        raise ConflictError(f"Image needs to be in 'queued' state to use '{method}' method")
    if status is not Status.UPLOADING and method == DIRECT:
        raise ConflictError("Image needs to be staged before 'glance-direct' method can be used")
    if not image.container_format:
        raise ConflictError("'container_format' needs to be set before import")
    if not image.disk_format:
        raise ConflictError("'disk_format' needs to be set before import")
    if method == GLANCE:
        _require_remote(request.arguments)


def _require_remote(arguments: Mapping[str, Any]) -> None:
    for name in ("glance_region", "glance_image_id"):
        if name not in arguments:
            raise InvalidRequestError(f"'{name}' needs to be set for glance-download import method")
    remote = arguments["glance_image_id"]
    try:
        UUID(remote)
    except (ValueError, AttributeError, TypeError):
        raise InvalidRequestError(f"Remote image id does not look like a UUID: {remote}") from None


def begun(image: Image, task_id: str, stores: Iterable[str | None]) -> Image:
    """Return an image that an import holds, which is to go to these stores."""
    properties = {**image.properties, LOCK: task_id}
    properties[IMPORTING] = _merged(properties.get(IMPORTING), added=stores)
    properties[FAILED] = _merged(properties.get(FAILED), removed=stores)
    return replace(image, properties=properties)


def arrived(image: Image, store: str | None) -> Image:
    """Return an image whose data has come into a store."""
    properties = dict(image.properties)
    properties[IMPORTING] = _merged(properties.get(IMPORTING), removed=[store])
    return replace(image, properties=properties)


def failed(image: Image, stores: Iterable[str | None], others: Iterable[str | None] = ()) -> Image:
    """Return an image whose import into some stores has failed; nor goes it on to the others."""
    stores = tuple(stores)
    properties = dict(image.properties)
    properties[IMPORTING] = _merged(properties.get(IMPORTING), removed=(*stores, *others))
    properties[FAILED] = _merged(properties.get(FAILED), added=stores)
    return replace(image, properties=properties)


def without_failures(image: Image, stores: Iterable[str | None]) -> Image:
    """Return an image that shows nothing of an import into some stores that was broken off."""
    stores = tuple(stores)
    properties = dict(image.properties)
    for name in (IMPORTING, FAILED):
        properties[name] = _merged(properties.get(name), removed=stores)
    return replace(image, properties=properties)


def released(image: Image) -> Image:
    """Return an image that no import holds any more."""
    properties = {name: value for name, value in image.properties.items() if name != LOCK}
    return replace(image, properties=properties)


def is_held(image: Image | None, task_id: str) -> bool:
    """Tell whether this import holds the image."""
    return image is not None and image.properties.get(LOCK) == task_id


def _merged(
    names: str | None, added: Iterable[str | None] = (), removed: Iterable[str | None] = ()
) -> str:
    now = {*(names or "").split(","), *filter(None, added)} - {*removed, ""}
    return ",".join(sorted(filter(None, now)))
