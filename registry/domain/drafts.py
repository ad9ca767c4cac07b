"""Reads the body of a create request into the image that it asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from registry.domain import access
from registry.domain.errors import ForbiddenError
from registry.domain.fields import (
    CHANGEABLE,
    IGNORED,
    NEVER_SENT,
    refuse_read_only,
    require_writable,
)
from registry.domain.identity import Identity
from registry.domain.image import Image, Visibility
from registry.domain.limits import Limits
from registry.domain.protection import require_use
from registry.domain.validation import ImageValidator


def draft_image(
    blank: Image, body: Any, identity: Identity, validator: ImageValidator, limits: Limits
) -> Image:
    """Return the queued image that `body` describes: `blank`, filled in; also the id, if it names one."""
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in IGNORED}
        for name in body.keys() & NEVER_SENT:
            refuse_read_only(name)
    validator.check(body)
    for name in body:
        require_writable(name)
    if "locations" in body:
        raise ForbiddenError("Locations are set by the catalog: upload the data instead.")
    fields = {name: value for name, value in body.items() if name in CHANGEABLE}
    properties = {
        name: value for name, value in body.items() if name not in CHANGEABLE and name != "id"
    }
    fields["tags"] = tuple(sorted(set(fields.get("tags", ()))))
    fields["visibility"] = Visibility(fields.get("visibility", Visibility.SHARED))
    fields.setdefault("owner", identity.project_id)
    access.require_creation(identity, fields["owner"], fields["visibility"])
    require_use(identity, "create", properties)
    limits.require_tags(len(fields["tags"]))
    limits.require_properties(len(properties))
    if "id" in body:
        fields["id"] = body["id"].lower()
    return replace(blank, properties=properties, **fields)
