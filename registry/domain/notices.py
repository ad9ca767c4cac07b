"""What others are told of images as things happen to them: Glance's event types and payloads.

Locations are never told: they may hold credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

from registry.domain.image import Image, Visibility
from registry.domain.member import Member
from registry.domain.task import Task

Priority: TypeAlias = Literal["info", "error"]
Payload: TypeAlias = dict[str, Any] | str

# The names by which an image's properties tell how an import goes.
_PROGRESS = ("os_glance_importing_to_stores", "os_glance_failed_import")


class Notifier(Protocol):
    """Tells others, who may be away: neither waits nor fails."""

    def emit(self, event: str, payload: Payload, priority: Priority = "info") -> None:
        """Tell of an event, behind the transaction that made it so."""


class _Silent:
    def emit(self, event: str, payload: Payload, priority: Priority = "info") -> None:
        """Tell nobody."""


SILENT: Notifier = _Silent()


def image_notice(image: Image, deleted_at: datetime | None = None) -> dict[str, Any]:
    """Return what is told of an image; `deleted_at` of one that is deleted now."""
    return {
        "id": image.id,
        "name": image.name,
        "status": image.status.value,
        "created_at": _time(image.created_at),
        "updated_at": _time(image.updated_at),
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "protected": image.protected,
        "checksum": image.checksum,
        "owner": image.owner,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "is_public": image.visibility is Visibility.PUBLIC,
        "visibility": image.visibility.value,
        "properties": dict(image.properties),
        "tags": list(image.tags),
        **_deletion(deleted_at),
    }


def data_notice(image: Image, store: str | None = None) -> dict[str, Any]:
    """Return what is told of an image whose data comes (into that store) or has come."""
    named = {name: image.properties.get(name) for name in _PROGRESS}
    progress = {name: text.split(",") if text else [] for name, text in named.items()}
    return {**image_notice(image), **progress, **({"backend": store} if store else {})}


def sent_notice(
    image_id: str, owner: str | None, size: int, receiver: tuple[str | None, str | None]
) -> dict[str, Any]:
    """Return what is told of data that was sent; `receiver` is a project and a user."""
    return {
        "bytes_sent": size,
        "image_id": image_id,
        "owner_id": owner,
        "receiver_tenant_id": receiver[0],
        "receiver_user_id": receiver[1],
    }


def member_notice(member: Member, deleted_at: datetime | None = None) -> dict[str, Any]:
    """Return what is told of a project that an image is shared with (no more, if `deleted_at`)."""
    return {
        "image_id": member.image_id,
        "member_id": member.project_id,
        "status": member.status.value,
        "created_at": _time(member.created_at),
        "updated_at": _time(member.updated_at),
        **_deletion(deleted_at),
    }


def task_notice(task: Task, now: datetime) -> dict[str, Any]:
    """Return what is told of a task: neither its input nor its message, which may hold secrets.

    One that has not ended expires now, says Glance.
    """
    return {
        "id": task.id,
        "type": task.type.value,
        "status": task.status.value,
        "result": None,
        "owner": task.owner,
        "message": None,
        "expires_at": _time(task.expires_at or now),
        "created_at": _time(task.created_at),
        "updated_at": _time(task.updated_at),
        **_deletion(None),
    }


def _deletion(moment: datetime | None) -> Mapping[str, Any]:
    return {"deleted": moment is not None, "deleted_at": moment and _time(moment)}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
