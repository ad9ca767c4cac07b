"""The JSON views of images and their members."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import urlencode

from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.listing import ListQuery
from registry.domain.member import Member
from registry.domain.protection import shown
from registry.domain.schemas import IMAGE_PATH, IMAGES_PATH, MEMBER_PATH, MEMBERS_PATH

Document: TypeAlias = dict[str, Any]

_FIELDS = (
    *("name", "disk_format", "container_format", "visibility", "size", "virtual_size", "status"),
    *("checksum", "protected", "min_ram", "min_disk", "owner", "os_hidden", "os_hash_algo"),
    *("os_hash_value", "os_manifest", "id"),
)


def image_document(identity: Identity, image: Image, places: Document) -> Document:
    """Return one image as the API shows it a caller, with what is to be told of where its data is."""
    path = f"/v2/images/{image.id}"
    return {
        **shown(identity, image.properties),
        **{name: getattr(image, name) for name in _FIELDS},
        "created_at": _time(image.created_at),
        "updated_at": _time(image.updated_at),
        **places,
        "tags": list(image.tags),
        "self": path,
        "file": f"{path}/file",
        "schema": IMAGE_PATH,
    }


def images_document(documents: Sequence[Document], query: ListQuery, *, more: bool) -> Document:
    """Return a page of images, with the link to the next one if there may be more."""
    document: Document = {
        "images": list(documents),
        "first": _link(query.parameters),
        "schema": IMAGES_PATH,
    }
    if documents and more:
        document["next"] = _link((*query.parameters, ("marker", documents[-1]["id"])))
    return document


def member_document(member: Member) -> Document:
    """Return one member as the API shows it."""
    return {
        "member_id": member.project_id,
        "image_id": member.image_id,
        "status": member.status,
        "created_at": _time(member.created_at),
        "updated_at": _time(member.updated_at),
        "schema": MEMBER_PATH,
    }


def members_document(members: Sequence[Member]) -> Document:
    """Return the members of an image."""
    return {"members": [member_document(member) for member in members], "schema": MEMBERS_PATH}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _link(parameters: Sequence[tuple[str, str]]) -> str:
    return f"/v2/images?{urlencode(parameters)}" if parameters else "/v2/images"
