"""The projects that images are shared with: one transaction for each call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from registry.db.database import Connection, Database
from registry.db.images import get_image, hold_image
from registry.db.members import (
    add_member,
    get_member,
    list_members,
    remove_member,
    save_member,
)
from registry.domain import access
from registry.domain.documents import Document, member_document, members_document
from registry.domain.errors import ConflictError, ForbiddenError, NotFoundError
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.member import Member, MemberStatus
from registry.domain.notices import SILENT, Notifier, member_notice
from registry.domain.sharing import read_answer, read_project, read_status, require_shared
from registry.service.clock import Clock, utc_now


class Members:
    """What callers do with the members of an image.  Documents are the API's JSON.

    The owner shares; who is shared with answers, and sees no other member.
    """

    def __init__(
        self,
        database: Database,
        limits: Limits,
        clock: Clock = utc_now,
        notifier: Notifier = SILENT,
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._notifier = notifier

    async def add(self, identity: Identity, image_id: str, body: Any) -> Document:
        """Share an image with a project, which has still to answer."""
        project_id, now = read_project(body), self._clock()
        member = Member(image_id, project_id, MemberStatus.PENDING, now, now)
        await self._database.change(self._add, identity, member)
        self._notifier.emit("image.member.create", member_notice(member))
        return member_document(member)

    async def _add(self, connection: Connection, identity: Identity, member: Member) -> None:
        image = await _shared(connection, identity, member.image_id, for_update=True)
        access.require_sharing(identity, image, "add_member")
        await hold_image(connection, image)  # of two who add at once, the second counts the first
        members = await list_members(connection, image.id)
        self._limits.require_members(image.id, len(members) + 1)
        if any(other.project_id == member.project_id for other in members):
            raise ConflictError(f"Member {member.project_id} is duplicated for image {image.id}")
        await add_member(connection, member)

    async def list(self, identity: Identity, image_id: str) -> Document:
        """Return the members of an image that the caller may know of."""
        image, members = await self._database.query(_members, identity, image_id)
        if not access.may(identity, image, "get_member"):
            members = []
        return members_document([member for member in members if _knows(identity, image, member)])

    async def show(self, identity: Identity, image_id: str, project_id: str) -> Document:
        """Return one member; whoever may not know finds nothing."""
        try:
            _, member = await self._database.query(_find, identity, image_id, project_id)
        except ForbiddenError as error:
            raise NotFoundError(str(error)) from None
        return member_document(member)

    async def answer(
        self, identity: Identity, image_id: str, project_id: str, body: Any
    ) -> Document:
        """Accept or reject an image, for the caller's own project (administrators: for any)."""
        answer = read_answer(body)

        async def work(connection: Connection) -> Member:
            image, member = await _find(connection, identity, image_id, project_id)
            access.require_answer(identity, image)
            answered = replace(member, status=read_status(answer), updated_at=self._clock())
            await save_member(connection, answered)
            return answered

        answered = await self._database.change(work)
        self._notifier.emit("image.member.update", member_notice(answered))
        return member_document(answered)

    async def remove(self, identity: Identity, image_id: str, project_id: str) -> None:
        """Share an image with one project less."""

        async def work(connection: Connection) -> Member:
            image, member = await _find(connection, identity, image_id, project_id)
            access.require_sharing(identity, image, "delete_member")
            await remove_member(connection, member)
            return member

        member = await self._database.change(work)
        self._notifier.emit("image.member.delete", member_notice(member, self._clock()))


async def _shared(
    connection: Connection, identity: Identity, image_id: str, *, for_update: bool = False
) -> Image:
    """Return an image that the caller sees and that may have members, locked if asked for."""
    image = await get_image(connection, image_id, for_update=for_update)
    image = access.require_visible(identity, image, image_id)
    require_shared(image)
    return image


async def _members(
    connection: Connection, identity: Identity, image_id: str
) -> tuple[Image, list[Member]]:
    image = await _shared(connection, identity, image_id)
    access.require_members(identity, image, "get_members")
    return image, await list_members(connection, image_id)


async def _find(
    connection: Connection, identity: Identity, image_id: str, project_id: str
) -> tuple[Image, Member]:
    """Return an image and one member of it, if the caller may know of them."""
    image = await _shared(connection, identity, image_id)
    access.require_members(identity, image, "get_member")
    member = await get_member(connection, image.id, project_id)
    if member is None or not _knows(identity, image, member):
        raise NotFoundError(f"{project_id} not found in the member list of the image {image.id}.")
    return image, member


def _knows(identity: Identity, image: Image, member: Member) -> bool:
    """Tell whether the caller may know of a member."""
    own = identity.project_id == member.project_id
    return identity.is_admin or access.owns(identity, image) or own
