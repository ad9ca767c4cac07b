"""Members: who may share, answer and know of it, and what lists show of what is shared."""

from __future__ import annotations

from typing import Any

import pytest

from registry.db.database import Database
from registry.domain import errors
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.limits import Limits
from registry.service.images import Images
from registry.service.members import Members

OWNER = Identity("p1", "u1", is_admin=False)
FRIEND = Identity("p2", "u2", is_admin=False)


@pytest.fixture
def members(database: Database, limits: Limits, clock: Any) -> Members:
    return Members(database, limits, clock)


@pytest.fixture
async def image(images: Images) -> str:
    return str((await images.create(OWNER, {"name": "shared"}))["id"])


async def names(images: Images, identity: Identity, **parameters: str) -> list[str]:
    page = await images.list(identity, tuple(parameters.items()))
    return [document["name"] for document in page["images"]]


async def test_an_image_is_shared_and_accepted(
    images: Images, members: Members, image: str
) -> None:
    made = await members.add(OWNER, image, {"member": "p2"})
    assert made == {
        "member_id": "p2",
        "image_id": image,
        "status": "pending",
        "created_at": "2026-01-01T00:00:02Z",
        "updated_at": "2026-01-01T00:00:02Z",
        "schema": "/v2/schemas/member",
    }
    assert await names(images, FRIEND) == []
    assert await names(images, FRIEND, member_status="pending") == ["shared"]
    assert await names(images, FRIEND, member_status="all", visibility="shared") == ["shared"]
    accepted = await members.answer(EVERYBODY, image, "p2", {"status": "accepted"})
    changed = {"status": "accepted", "updated_at": "2026-01-01T00:00:03Z"}
    assert accepted == made | changed
    assert await members.show(OWNER, image, "p2") == accepted
    assert await names(images, FRIEND) == ["shared"]
    assert await names(images, FRIEND, member_status="pending") == []
    assert await names(images, OWNER, member_status="rejected") == ["shared"]
    assert await names(images, Identity("p3", "u3", is_admin=False)) == []
    assert await names(images, Identity(None, "u4", is_admin=False)) == []


async def test_only_shared_images_have_members(
    images: Images, members: Members, image: str
) -> None:
    await members.add(OWNER, image, {"member": "p2"})
    private = [{"op": "replace", "path": "/visibility", "value": "private"}]
    media_type = "application/openstack-images-v2.1-json-patch"
    await images.patch(OWNER, image, media_type, private)
    with pytest.raises(errors.ForbiddenError, match="Only shared"):
        await members.list(OWNER, image)
    with pytest.raises(errors.NotFoundError, match="Only shared"):
        await members.show(OWNER, image, "p2")
    assert await names(images, FRIEND, member_status="all") == []
    private[0]["value"] = "shared"
    await images.patch(OWNER, image, media_type, private)
    assert [each["member_id"] for each in (await members.list(OWNER, image))["members"]] == ["p2"]


async def test_the_owner_may_not_answer(members: Members, image: str) -> None:
    await members.add(OWNER, image, {"member": "p2"})
    with pytest.raises(errors.ForbiddenError):
        await members.answer(OWNER, image, "p2", {"status": "accepted"})
    assert (await members.show(OWNER, image, "p2"))["status"] == "pending"


async def test_more_than_the_quota_and_one_twice(
    database: Database, images: Images, members: Members, image: str, limits: Limits
) -> None:
    for number in range(limits.image_member_quota - 1):
        await members.add(OWNER, image, {"member": f"m{number}"})
    with pytest.raises(errors.ConflictError, match="m0 is duplicated"):
        await members.add(OWNER, image, {"member": "m0"})
    await members.add(OWNER, image, {"member": "last"})
    with pytest.raises(errors.LimitExceededError, match="Attempted: 129, Maximum: 128"):
        await members.add(OWNER, image, {"member": "one-more"})
    await members.remove(OWNER, image, "m0")
    await members.add(OWNER, image, {"member": "one-more"})
    assert len((await members.list(OWNER, image))["members"]) == limits.image_member_quota
    await images.delete(OWNER, image)
    async with database.read() as connection:
        assert (await connection.exec_driver_sql("SELECT * FROM image_members")).all() == []


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], None, "p2", 1),
        *({"member": member} for member in ("", None, 1, "m" * 256, "m\0", "\ud800")),
    ],
)
async def test_no_such_member_can_be(members: Members, image: str, body: Any) -> None:
    with pytest.raises(errors.InvalidRequestError):
        await members.add(OWNER, image, body)
    assert (await members.list(OWNER, image))["members"] == []


@pytest.mark.parametrize("body", [{}, [], None, {"status": "maybe"}, {"status": ["accepted"]}])
async def test_no_such_answer_is(members: Members, image: str, body: Any) -> None:
    await members.add(OWNER, image, {"member": "p2"})
    with pytest.raises(errors.InvalidRequestError):
        await members.answer(EVERYBODY, image, "p2", body)


async def test_what_is_not_there(members: Members, image: str) -> None:
    for act in (members.show, members.remove):
        with pytest.raises(errors.NotFoundError, match="p2 not found in the member list"):
            await act(OWNER, image, "p2")
    with pytest.raises(errors.NotFoundError):
        await members.answer(EVERYBODY, image, "p2", {"status": "maybe"})
    with pytest.raises(errors.NotFoundError):
        await members.add(OWNER, "nothing", {"member": "p2"})
    with pytest.raises(errors.NotFoundError):
        await members.list(FRIEND, image)
