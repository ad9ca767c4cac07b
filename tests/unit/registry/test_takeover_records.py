"""What a Glance tells, read into records; and what is otherwise here."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from registry.domain.image import ImageLocation, Visibility
from registry.domain.member import MemberStatus
from registry.domain.status import Status
from registry.takeover.records import (
    NotTakenError,
    Record,
    differences,
    direct_place,
    mark_of,
    read_places,
    read_record,
    require_places,
    require_taken,
    told_places,
)

ID = "6fd4b1c5-9c2f-4f2b-8a4a-0d6b2c0a7f11"
TOLD: dict[str, Any] = {
    "id": ID,
    "name": "Grün",
    "owner": "p1",
    "status": "active",
    "visibility": "shared",
    "protected": True,
    "os_hidden": False,
    "container_format": "bare",
    "disk_format": "qcow2",
    "min_disk": 1,
    "min_ram": 2,
    "size": 3,
    "virtual_size": None,
    "checksum": "00" * 16,
    "os_hash_algo": "sha512",
    "os_hash_value": "11" * 64,
    "created_at": "2026-01-02T03:04:05Z",
    "updated_at": "2026-01-02T03:04:06Z",
    "tags": ["b", "a"],
    "self": f"/v2/images/{ID}",
    "file": f"/v2/images/{ID}/file",
    "schema": "/v2/schemas/image",
    "stores": "fast",
    "os_distro": "debian",
    "nothing": None,
    "os_glance_failed_import": "",
}
MEMBER = {
    "member_id": "p2",
    "image_id": ID,
    "status": "accepted",
    "created_at": "2026-01-02T03:04:07Z",
    "updated_at": "2026-01-02T03:04:08Z",
    "schema": "/v2/schemas/member",
}
PLACES = (ImageLocation("file:///x", {"store": "fast"}),)


def record(**changes: Any) -> Record:
    return read_record({**TOLD, **changes}, [MEMBER], PLACES)


def test_a_record() -> None:
    image = record().image
    assert (image.id, image.name, image.owner) == (ID, "Grün", "p1")
    assert (image.status, image.visibility) == (Status.ACTIVE, Visibility.SHARED)
    assert image.created_at == datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  # UTC without a zone
    assert image.tags == ("a", "b")
    assert image.properties == {"os_distro": "debian", "nothing": None}
    assert image.locations == PLACES
    (member,) = record().members
    assert (member.project_id, member.status) == ("p2", MemberStatus.ACCEPTED)


@pytest.mark.parametrize(
    "changes",
    [{"status": "unheard of"}, {"created_at": "yesterday"}, {"tags": None}, {"visibility": "x"}],
)
def test_what_is_not_understood(changes: dict[str, Any]) -> None:
    with pytest.raises(NotTakenError, match="not understood"):
        record(**changes)
    with pytest.raises(NotTakenError, match="not understood"):
        read_record({"id": ID}, [], ())


@pytest.mark.parametrize("status", ["saving", "uploading", "importing", "killed", "pending_delete"])
def test_what_glance_works_on_is_left(status: str) -> None:
    with pytest.raises(NotTakenError, match=f"it is {status}"):
        require_taken({"status": status})


def test_where_the_data_is() -> None:
    told = [{"url": "file:///x", "metadata": {"store": "fast"}}]
    assert read_places(told) == told_places({"locations": told}) == PLACES
    assert told_places({}) is None
    assert direct_place({"direct_url": "file:///x"}) == (ImageLocation("file:///x"),)
    assert direct_place({}) is None
    with pytest.raises(NotTakenError, match="show_multiple_locations"):
        require_places(TOLD, None)
    require_places(TOLD, PLACES)
    require_places(TOLD | {"status": "queued"}, None)
    # A snapshot of a volume: there is no data.
    require_places(TOLD | {"size": 0, "checksum": None, "os_hash_value": None}, None)


def test_marks() -> None:
    assert record().mark == record(size=9, checksum=None, updated_at=TOLD["created_at"]).mark
    changes: list[dict[str, Any]] = [
        {"name": "x"},
        {"tags": []},
        {"os_distro": "x"},
        {"status": "deactivated"},
    ]
    for change in changes:
        assert record(**change).mark != record().mark
    assert read_record(TOLD, [], PLACES).mark != record().mark
    other = MEMBER | {"member_id": "p3"}
    assert mark_of(TOLD, [MEMBER, other]) == mark_of(TOLD, [other, MEMBER])
    assert mark_of(TOLD, []) != mark_of(TOLD, [MEMBER])
    assert mark_of(TOLD | {"updated_at": "x"}, []) != mark_of(TOLD, [])


def test_differences() -> None:
    here = record()
    assert list(differences(record(), here)) == []
    assert list(differences(record(name="x"), here)) == ["name is 'x' in Glance and 'Grün' here"]
    (said,) = differences(record(os_distro="x"), here)
    assert said.startswith("properties is")
    (said,) = differences(read_record(TOLD, [], PLACES), here)
    assert said == "members are none in Glance and p2 (accepted) here"
    # What the catalog found out itself.
    assert list(differences(record(checksum=None, os_hash_value=None), here)) == []
    later = replace(here.image, updated_at=datetime(2027, 1, 1))  # noqa: DTZ001  # as above
    copied = replace(later, locations=(*PLACES, ImageLocation("rbd://x")), os_manifest="m")
    assert list(differences(record(), Record(copied, here.members))) == []
    secret = ImageLocation("swift+https://user:secret@x/y/z")
    moved = read_record(TOLD, [MEMBER], [secret])
    assert list(differences(moved, here)) == ["its locations differ"]
