"""What projects use, and what is reserved for data on its way.

Every function runs in its caller's transaction.  Whoever adds to what a project uses holds the
project first, so that of two who add at once the second counts the first; who takes away need not.
A reservation goes with the status of its image (`registry.db.images.move_image`); what an import
reserves, by and by, with the data that comes and with its end (`spend`, `release`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from registry.db.database import Connection
from registry.db.failures import OvertakenError
from registry.db.tables import (
    image_locations,
    image_properties,
    images,
    quota_projects,
    quota_reservations,
)
from registry.domain.quota import Resource, Usage
from registry.domain.status import GONE, ON_ITS_WAY, Status

COPYING = "os_glance_importing_to_stores"  # the property that names stores which data is copied to
_STAGED = (Status.UPLOADING, Status.IMPORTING)


async def hold_project(connection: Connection, project_id: str | None) -> None:
    """Let nobody else add to what a project uses until this transaction ends."""
    name = project_id or ""
    mine = quota_projects.c.project == name
    answer = await connection.execute(
        quota_projects.update().where(mine).values(version=quota_projects.c.version + 1)
    )
    if answer.rowcount:
        return
    try:
        await connection.execute(quota_projects.insert().values(project=name, version=0))
    except IntegrityError:
        raise OvertakenError(f"Project {name} is being counted by others.") from None


async def get_usage(
    connection: Connection,
    project_id: str | None,
    resources: Collection[Resource] = frozenset(Resource),
) -> Usage:
    """Return what a project uses, as Glance counts it, and what is reserved for it.

    Of these resources only, 0 of the others: all that a project has is read for the size and for the
    number of its images, and next to nothing for what is on its way.
    """
    mine = sa.and_(images.c.owner == project_id, ~images.c.deleted)
    here = mine & images.c.status.not_in(GONE)
    size, count = sa.func.sum(images.c.size), sa.func.count(images.c.id)
    stored = sa.select(size).select_from(images.join(image_locations)).where(here)
    staged = sa.select(size).where(mine, images.c.status.in_(_STAGED))
    uploading = sa.select(count).where(mine, images.c.status.in_(ON_ITS_WAY))
    parts: dict[Resource, tuple[sa.Select[Any], ...]] = {
        Resource.SIZE: (stored, _reserved(project_id, Resource.SIZE)),
        Resource.STAGE: (
            *(staged, _copied(size, mine, _STAGED)),
            _reserved(project_id, Resource.STAGE),
        ),
        Resource.COUNT: (sa.select(count).where(here),),
        Resource.UPLOADING: (uploading, _copied(count, mine, ON_ITS_WAY)),
    }
    wanted = [(resource, part) for resource in resources for part in parts[resource]]
    question = sa.select(*(part.scalar_subquery() for _, part in wanted))
    found = dict.fromkeys(Resource, 0)
    for (resource, _), number in zip(
        wanted, (await connection.execute(question)).one(), strict=True
    ):
        # There is no sum of nothing, and PostgreSQL's are decimals.
        found[resource] += int(number or 0)
    return Usage(
        stored=found[Resource.SIZE],
        staged=found[Resource.STAGE],
        images=found[Resource.COUNT],
        uploading=found[Resource.UPLOADING],
    )


async def reserve(
    connection: Connection, project_id: str | None, image_id: str, resource: Resource, size: int
) -> None:
    """Reserve so many bytes for the data of an image, instead of what has been reserved for it."""
    mine = _of(image_id, resource)
    await connection.execute(quota_reservations.delete().where(mine))
    await connection.execute(
        quota_reservations.insert().values(
            image_id=image_id, resource=resource, project=project_id or "", size=size
        )
    )


async def get_reservation(connection: Connection, image_id: str, resource: Resource) -> int | None:
    """Return how many bytes are reserved for the data of an image, None if nothing is (any more)."""
    question = sa.select(quota_reservations.c.size).where(_of(image_id, resource))
    return (await connection.execute(question)).scalar_one_or_none()


async def enlarge(
    connection: Connection, image_id: str, resource: Resource, reserved: int, size: int
) -> bool:
    """Reserve `size` bytes where `reserved` were read; False if they are not (any more).

    It makes no reservation: whoever takes one away need not hold the project.
    """
    known = _of(image_id, resource) & (quota_reservations.c.size == reserved)
    answer = await connection.execute(quota_reservations.update().where(known).values(size=size))
    return answer.rowcount == 1


async def spend(connection: Connection, image_id: str, resource: Resource, size: int) -> None:
    """Reserve so many bytes less for an image, of which they are counted from now on."""
    reserved = quota_reservations.c.size
    rest = sa.case((reserved > size, reserved - size), else_=0)
    await connection.execute(
        quota_reservations.update().where(_of(image_id, resource)).values(size=rest)
    )


async def release(connection: Connection, image_id: str, resource: Resource | None = None) -> None:
    """Forget what is reserved for an image, of one resource or all: it counts now, or is gone."""
    mine = quota_reservations.c.image_id == image_id
    if resource is not None:
        mine = _of(image_id, resource)
    await connection.execute(quota_reservations.delete().where(mine))


def _of(image_id: str, resource: Resource) -> sa.ColumnElement[bool]:
    return sa.and_(
        quota_reservations.c.image_id == image_id, quota_reservations.c.resource == resource
    )


def _copied(
    figure: sa.ColumnElement[int], mine: sa.ColumnElement[bool], counted: Iterable[Status]
) -> sa.Select[int]:
    """Ask for a figure of those that are copied to other stores, and are not `counted` already.

    Apart from the others: there are few, and they are found by the property.
    """
    copying = (image_properties.c.name == COPYING) & (image_properties.c.value != "")
    elsewhere = images.c.status.not_in({*GONE, *counted})
    return (
        sa.select(figure).select_from(images.join(image_properties)).where(mine, copying, elsewhere)
    )


def _reserved(project_id: str | None, resource: Resource) -> sa.Select[tuple[int]]:
    question = sa.select(sa.func.sum(quota_reservations.c.size)).where(
        quota_reservations.c.project == (project_id or ""),
        quota_reservations.c.resource == resource,
    )
    if resource is Resource.STAGE:
        # What is staged has its size, and counts by that.
        sized = (images.c.id == quota_reservations.c.image_id) & (images.c.size > 0)
        question = question.where(~sa.exists().where(sized))
    return question
