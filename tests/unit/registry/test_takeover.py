"""A Glance is taken over, played by a dictionary: what is decided of an image, and what is left behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.databases import Server
from registry.db.database import Database
from registry.db.images import add_image, delete_image, get_image, save_image
from registry.db.members import list_members
from registry.db.purge import purge_images
from registry.db.takeovers import get_held
from registry.domain.image import Image
from registry.domain.status import Status
from registry.service.stores import Stores
from registry.takeover.takeover import Outcome, Takeover


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


class PlayedGlance:
    """Holds documents as a Glance tells them."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.shared: dict[str, dict[str, str]] = {}  # image: project: its answer
        self.tells_locations = True
        self.asked: list[tuple[str, str]] = []

    def add(self, **told: Any) -> str:
        image = str(uuid4())
        self.documents[image] = {
            "id": image,
            "name": "one",
            "owner": "p1",
            "status": "active",
            "visibility": "private",
            "protected": False,
            "os_hidden": False,
            "container_format": "bare",
            "disk_format": "raw",
            "min_disk": 0,
            "min_ram": 0,
            "size": 4,
            "virtual_size": None,
            "checksum": "00" * 16,
            "os_hash_algo": "sha512",
            "os_hash_value": "11" * 64,
            "created_at": "2026-01-02T03:04:05Z",
            "updated_at": "2026-01-02T03:04:05Z",
            "tags": ["t"],
            "os_distro": "debian",
            "locations": [{"url": f"memory://{image}", "metadata": {}}],
            **told,
        }
        return image

    async def images(self, *, hidden: bool) -> list[dict[str, Any]]:
        return [each for each in self.documents.values() if each["os_hidden"] == hidden]

    async def members(self, image_id: str) -> list[dict[str, Any]]:
        self.asked.append(("members", image_id))
        moment = "2026-01-02T03:04:06Z"
        return [
            {"member_id": member, "image_id": image_id, "status": status}
            | {"created_at": moment, "updated_at": moment}
            for member, status in self.shared.get(image_id, {}).items()
        ]

    async def locations(self, image_id: str) -> list[dict[str, Any]] | None:
        self.asked.append(("locations", image_id))
        told = [{"url": f"memory://{image_id}", "metadata": {}}]
        return told if self.tells_locations else None

    async def has(self, image_id: str) -> bool:
        return image_id in self.documents


class Taking:
    """Takes that Glance over, again and again."""

    def __init__(self, database: Database, stores: Stores) -> None:
        self.database = database
        self.stores = stores
        self.glance = PlayedGlance()

    async def run(self, *, dry_run: bool = False) -> Takeover:
        takeover = Takeover(self.database, self.glance, self.stores, dry_run=dry_run)
        documents = await takeover.listed()
        await takeover.take(documents.values(), lambda: None)
        await takeover.follow_deletions(documents)
        return takeover

    async def counts(self, *, dry_run: bool = False) -> dict[Outcome, int]:
        return dict((await self.run(dry_run=dry_run)).report.counts)

    async def reason(self) -> str:
        ((_, _, reason),) = (await self.run()).report.left
        return reason

    async def image(self, image_id: str) -> Image:
        image = await self.database.query(get_image, image_id)
        assert image is not None
        return image


@pytest.fixture
def taking(database: Database, stores: Stores) -> Taking:
    return Taking(database, stores)


async def test_all_there_is_of_an_image(taking: Taking) -> None:
    image = taking.glance.add(visibility="shared", os_hidden=True)
    taking.glance.shared[image] = {"p2": "accepted", "p3": "pending"}
    assert await taking.counts(dry_run=True) == {Outcome.TAKEN: 1}
    assert await taking.database.query(get_image, image) is None
    assert await taking.counts() == {Outcome.TAKEN: 1}
    there = await taking.image(image)
    assert (there.status, there.size, there.os_hidden) == (Status.ACTIVE, 4, True)
    assert (there.tags, there.properties) == (("t",), {"os_distro": "debian"})
    assert [place.url for place in there.locations] == [f"memory://{image}"]
    members = await taking.database.query(list_members, image)
    assert [(each.project_id, each.status) for each in members] == [
        ("p2", "accepted"),
        ("p3", "pending"),
    ]
    assert await taking.counts() == {Outcome.SAME: 1}


async def test_what_glance_changes_is_followed(taking: Taking) -> None:
    image = taking.glance.add(status="queued", size=None, checksum=None, locations=[])
    await taking.run()
    taking.glance.documents[image] |= {
        "status": "active",
        "size": 4,
        "name": "two",
        "tags": [],
        "visibility": "shared",
        "locations": [{"url": f"memory://{image}", "metadata": {}}],
    }
    taking.glance.shared[image] = {"p2": "pending"}
    assert await taking.counts(dry_run=True) == {Outcome.CHANGED: 1}
    assert (await taking.image(image)).name == "one"
    assert await taking.counts() == {Outcome.CHANGED: 1}
    there = await taking.image(image)
    assert (there.status, there.size, there.name, there.tags) == (Status.ACTIVE, 4, "two", ())
    assert (len(there.locations), there.members) == (1, ("p2",))
    taking.glance.shared[image] = {"p2": "accepted"}
    assert await taking.counts() == {Outcome.CHANGED: 1}
    taking.glance.documents[image]["status"] = "deactivated"
    assert await taking.counts() == {Outcome.CHANGED: 1}
    assert (await taking.image(image)).status is Status.DEACTIVATED


async def test_a_status_that_cannot_follow_is_left_alone(taking: Taking) -> None:
    image, other = taking.glance.add(), taking.glance.add()
    await taking.run()
    taking.glance.documents[image]["status"] = "queued"
    taking.glance.documents[other]["name"] = "two"
    takeover = await taking.run()
    ((left, _, reason),) = takeover.report.left
    assert (left, "active to queued is not allowed" in reason) == (image, True)
    assert takeover.report.counts[Outcome.CHANGED] == 1


async def test_what_is_changed_here_stays(taking: Taking) -> None:
    image = taking.glance.add()
    await taking.run()
    there = await taking.image(image)
    await taking.database.change(save_image, replace(there, name="ours"))
    assert await taking.counts() == {Outcome.SAME: 1}
    taking.glance.documents[image]["name"] = "theirs"
    assert "changed in Glance and here" in await taking.reason()
    assert (await taking.image(image)).name == "ours"
    del taking.glance.documents[image]
    assert "changed in Glance and here" in await taking.reason()
    assert (await taking.image(image)).name == "ours"


async def test_copies_and_hashes_of_ours_are_no_change(taking: Taking) -> None:
    image = taking.glance.add(checksum=None, os_hash_value=None, os_hash_algo=None)
    await taking.run()
    taking.glance.documents[image]["name"] = "two"
    assert await taking.counts() == {Outcome.CHANGED: 1}
    assert len((await taking.image(image)).locations) == 1


async def test_deletions(taking: Taking, clock: Any) -> None:
    gone, deleted = taking.glance.add(), taking.glance.add()
    await taking.run()
    there = await taking.image(deleted)
    await taking.database.change(delete_image, there, clock())
    told = taking.glance.documents.pop(gone)
    assert await taking.counts(dry_run=True) == {Outcome.GONE: 1, Outcome.LEFT: 1}
    assert await taking.counts() == {Outcome.GONE: 1, Outcome.LEFT: 1}
    assert "deleted here" in await taking.reason()
    held = await taking.database.query(get_held, gone)
    assert (held.image, held.is_deleted) == (None, True)
    taking.glance.documents[gone] = told  # nobody's list is to be trusted
    assert (await taking.counts())[Outcome.LEFT] == 2
    far = there.created_at.replace(year=9999)
    assert await taking.database.change(purge_images, far, 10) == 2
    assert (await taking.database.query(get_held, gone)).told is None


async def test_an_id_of_ours_is_not_written_over(taking: Taking) -> None:
    image = taking.glance.add()
    moment = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
    now = Image(id=image, created_at=moment, updated_at=moment, name="mine")
    await taking.database.change(add_image, now)
    assert "another image has its id" in await taking.reason()
    assert (await taking.image(image)).name == "mine"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"status": "saving"}, "it is saving"),
        ({"locations": [{"url": "vsphere://x/y", "metadata": {}}]}, "not configured"),
        ({"tags": None}, "not understood"),
    ],
)
async def test_what_cannot_be_taken(taking: Taking, told: dict[str, Any], reason: str) -> None:
    image = taking.glance.add(**told)
    assert reason in await taking.reason()
    assert await taking.database.query(get_image, image) is None


async def test_where_the_data_is_when_records_do_not_tell(taking: Taking) -> None:
    image = taking.glance.add()
    del taking.glance.documents[image]["locations"]
    taking.glance.tells_locations = False
    assert "show_multiple_locations" in await taking.reason()
    taking.glance.tells_locations = True
    assert await taking.counts() == {Outcome.TAKEN: 1}
    taking.glance.asked.clear()
    assert await taking.counts() == {Outcome.SAME: 1}
    assert taking.glance.asked == [], "a second run asks nothing that the list tells"


async def test_a_comparison(taking: Taking) -> None:
    image, other = taking.glance.add(), taking.glance.add()
    takeover = await taking.run()
    assert await takeover.compare(taking.glance.documents.values(), lambda: None) == []
    there = await taking.image(image)
    await taking.database.change(save_image, replace(there, name="ours"))
    taking.glance.add(name="new")
    found = await takeover.compare(taking.glance.documents.values(), lambda: None)
    assert (image, "name is 'one' in Glance and 'ours' here") in found
    assert [what for each, what in found if each not in {image, other}] == ["is not here"]
    assert len(found) == 2
