"""Rows of members in and out.  Every function runs in its caller's transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from registry.db.database import Connection
from registry.db.failures import OvertakenError
from registry.db.tables import image_members
from registry.domain.member import Member, MemberStatus


async def add_member(connection: Connection, member: Member) -> None:
    """Share an image that this transaction has locked, and that has no such member."""
    await connection.execute(
        image_members.insert().values(
            image_id=member.image_id,
            member=member.project_id,
            status=member.status,
            created_at=member.created_at,
            updated_at=member.updated_at,
        )
    )


async def list_members(connection: Connection, image_id: str) -> list[Member]:
    """Return the members of an image, in the order of their names."""
    question = sa.select(image_members).where(image_members.c.image_id == image_id)
    rows = await connection.execute(question.order_by(image_members.c.member))
    return [_member(row) for row in rows]


async def get_member(connection: Connection, image_id: str, project_id: str) -> Member | None:
    """Return one member."""
    question = sa.select(image_members).where(_is(image_id, project_id))
    row = (await connection.execute(question)).one_or_none()
    return None if row is None else _member(row)


async def save_member(connection: Connection, member: Member) -> None:
    """Write what a member answered, and when; `OvertakenError`: it is none any more."""
    answer = await connection.execute(
        image_members.update()
        .where(_is(member.image_id, member.project_id))
        .values(status=member.status, updated_at=member.updated_at)
    )
    _require_one(answer, member)


async def remove_member(connection: Connection, member: Member) -> None:
    """Share an image with one project less; `OvertakenError`: somebody has done so."""
    answer = await connection.execute(
        image_members.delete().where(_is(member.image_id, member.project_id))
    )
    _require_one(answer, member)


def _require_one(answer: sa.CursorResult[Any], member: Member) -> None:
    if answer.rowcount != 1:
        raise OvertakenError(f"Member {member.project_id} is being changed by others.")


def _is(image_id: str, project_id: str) -> sa.ColumnElement[bool]:
    return (image_members.c.image_id == image_id) & (image_members.c.member == project_id)


def _member(row: sa.Row[Any]) -> Member:
    return Member(
        row.image_id, row.member, MemberStatus(row.status), row.created_at, row.updated_at
    )
