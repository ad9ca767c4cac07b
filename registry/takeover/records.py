"""What a Glance tells of an image, read into the record that the catalog is to have of it.  Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeAlias

from registry.domain.image import Image, ImageLocation, Visibility
from registry.domain.member import Member, MemberStatus
from registry.domain.status import Status

Document: TypeAlias = dict[str, Any]

_PLAIN = (
    *("id", "name", "owner", "protected", "os_hidden", "container_format", "disk_format"),
    *("min_disk", "min_ram", "size", "virtual_size", "checksum", "os_hash_algo"),
    "os_hash_value",
)
_KNOWN = frozenset(
    {
        *(*_PLAIN, "status", "visibility", "tags", "created_at", "updated_at"),
        *("locations", "direct_url", "stores", "self", "file", "schema", "os_manifest"),
    }
)
# Notes of an import that Glance runs, or ran: they mean nothing to anybody else.
_NOTES = "os_glance_"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_TAKEN = frozenset({Status.QUEUED, Status.ACTIVE, Status.DEACTIVATED})
_WITH_DATA = frozenset({Status.ACTIVE, Status.DEACTIVATED})
# What the catalog may come to know of data that Glance does not.
_COMPUTED = frozenset({"size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value"})
_OWN = frozenset({"members", "version", "os_manifest"})


class NotTakenError(Exception):
    """An image that cannot be taken over; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """An image with its members."""

    image: Image
    members: tuple[Member, ...]

    @property
    def mark(self) -> str:
        """Return what changes when somebody changes it; not what the catalog finds out itself."""
        image = self.image
        said = [
            *(image.id, image.name, image.owner, image.protected, image.os_hidden),
            *(image.container_format, image.disk_format, image.min_disk, image.min_ram),
            *(image.status, image.visibility, image.tags, image.properties),
            sorted([member.project_id, member.status] for member in self.members),
        ]
        return _digest(said)


def mark_of(document: Document, members: Sequence[Document]) -> str:
    """Return what changes when Glance tells something else."""
    return _digest([document, sorted(members, key=lambda member: str(member["member_id"]))])


def require_taken(document: Document) -> None:
    """Refuse an image on which Glance is working."""
    status = document["status"]
    if status not in _TAKEN:
        raise NotTakenError(f"it is {status} in Glance: run this again when that has ended")


def require_places(document: Document, places: Sequence[ImageLocation] | None) -> None:
    """Refuse an image that has data, if Glance does not tell where (None)."""
    empty = not document["size"] and not document["checksum"] and not document["os_hash_value"]
    if places is None and document["status"] in _WITH_DATA and not empty:
        raise NotTakenError(
            "Glance does not tell where its data is: set show_multiple_locations there, or let the "
            "user ask its API of locations (rule fetch_image_location)"
        )


def told_places(document: Document) -> tuple[ImageLocation, ...] | None:
    """Return where the data is, as far as the record itself tells; None: it does not."""
    if "locations" in document:
        return read_places(document["locations"])
    return None


def direct_place(document: Document) -> tuple[ImageLocation, ...] | None:
    """Return the one place that `direct_url` tells, the last resort."""
    return (ImageLocation(document["direct_url"]),) if "direct_url" in document else None


def read_places(told: Sequence[Document]) -> tuple[ImageLocation, ...]:
    """Read locations as both of Glance's APIs tell them."""
    return tuple(ImageLocation(str(each["url"]), dict(each.get("metadata") or {})) for each in told)


def read_record(
    document: Document, members: Sequence[Document], places: Sequence[ImageLocation]
) -> Record:
    """Read an image; `NotTakenError` where it is none that the catalog could hold."""
    try:
        image = Image(
            **{name: document[name] for name in _PLAIN},
            status=Status(document["status"]),
            visibility=Visibility(document["visibility"]),
            created_at=_time(document["created_at"]),
            updated_at=_time(document["updated_at"]),
            tags=tuple(sorted(set(document["tags"]))),
            properties={
                name: value
                for name, value in document.items()
                if name not in _KNOWN and not name.startswith(_NOTES)
            },
            locations=tuple(places),
        )
        return Record(image, tuple(_member(each) for each in members))
    except (KeyError, TypeError, ValueError) as error:
        raise NotTakenError(f"Glance's answer is not understood ({error!r})") from None


def differences(told: Record, held: Record) -> Iterator[str]:
    """Say what the catalog has otherwise than Glance tells it."""
    for name in (each.name for each in fields(Image)):
        there, here = getattr(told.image, name), getattr(held.image, name)
        if name in _OWN or there == here:
            continue
        if name in _COMPUTED and there is None:
            continue
        if name == "updated_at" and here > there:
            continue  # the hashes that Glance has not were added
        if name == "locations":
            if not _same_places(there, here):
                yield "its locations differ"  # they may have credentials in them
            continue
        yield f"{name} is {there!r} in Glance and {here!r} here"
    there_members = {member.project_id: member for member in told.members}
    here_members = {member.project_id: member for member in held.members}
    if there_members != here_members:
        yield f"members are {_shown(told.members)} in Glance and {_shown(held.members)} here"


def _same_places(there: Sequence[ImageLocation], here: Sequence[ImageLocation]) -> bool:
    """Tell whether all places are known here; there may be more, of copies that were made since."""
    return all(place in here for place in there)


def _shown(members: Sequence[Member]) -> str:
    return ", ".join(f"{each.project_id} ({each.status})" for each in members) or "none"


def _member(told: Document) -> Member:
    return Member(
        image_id=told["image_id"],
        project_id=told["member_id"],
        status=MemberStatus(told["status"]),
        created_at=_time(told["created_at"]),
        updated_at=_time(told["updated_at"]),
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TIME)  # noqa: DTZ007  # UTC without a zone, as everywhere here


def _digest(said: Any) -> str:
    text = json.dumps(said, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
