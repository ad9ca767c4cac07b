"""Rows of data that is to be deleted.  Every function runs in its caller's transaction.

A row that was never claimed is no more than a plan: who has data in its place again drops it.  One
that was claimed may be on its way in the store at any time, so that nobody may have data there until
the row is gone.  Both are decided by changing the row itself, so that of a claim and a new place one
comes second, on whatever node, and sees the other.  Each of these writes differs from what was there:
Galera's nodes tell one another of nothing else.  Times are those of the database's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import sqlalchemy as sa

from registry.db.clock import moment_in
from registry.db.database import Connection
from registry.db.failures import OvertakenError
from registry.db.tables import discards, image_locations, images
from registry.domain.errors import ConflictError
from registry.domain.image import ImageLocation


@dataclass(frozen=True, slots=True)
class Discard:
    """Data that no image has any more; `attempts` counts what claims have begun and ended."""

    id: int
    image_id: str  # that had it
    place: ImageLocation
    attempts: int

    @property
    def is_claimed(self) -> bool:
        """Whether somebody has begun its deletion, and never said how that went."""
        return self.attempts % 2 == 1


async def add_discards(
    connection: Connection, image_id: str, places: Iterable[ImageLocation], seconds: float
) -> None:
    """Owe the deletion of an image's data in some places, due in so many seconds."""
    for place in places:
        await connection.execute(
            discards.insert().values(
                image_id=image_id,
                value=place.url,
                meta_data=place.metadata,
                due_at=moment_in(seconds),
                attempts=0,
            )
        )


async def image_discards(connection: Connection, image_id: str) -> list[Discard]:
    """Return what one image has left, in the order in which it was owed."""
    question = sa.select(discards).where(discards.c.image_id == image_id)
    return await _found(connection, question.order_by(discards.c.id))


async def due_discards(connection: Connection, most: int, behind: int = 0) -> list[Discard]:
    """Return what is due, in the order in which it was owed, behind one by its id."""
    question = sa.select(discards).where(discards.c.due_at <= moment_in(0), discards.c.id > behind)
    return await _found(connection, question.order_by(discards.c.id).limit(most))


async def claim_discard(connection: Connection, discard: Discard, seconds: float) -> Discard | None:
    """Let nobody else delete the data for so many seconds, and nobody have data in its place.

    Return the claim; None if somebody else has one, or an image has data there (again).
    """
    claim = replace(discard, attempts=discard.attempts + (2 if discard.is_claimed else 1))
    answer = await connection.execute(
        discards.update()
        .where(_is(discard), ~_is_an_images(discard.place.url))
        .values(due_at=moment_in(seconds), attempts=claim.attempts)
    )
    return claim if answer.rowcount == 1 else None


async def renew_discard(connection: Connection, claim: Discard, seconds: float) -> bool:
    """Let nobody else delete the data for so many seconds from now; False if somebody else does."""
    answer = await connection.execute(
        discards.update().where(_is(claim)).values(due_at=moment_in(seconds))
    )
    return answer.rowcount == 1


async def end_discard(connection: Connection, claim: Discard) -> None:
    """Forget data that is deleted, unless somebody else has claimed it since."""
    await connection.execute(discards.delete().where(_is(claim)))


async def postpone_discard(connection: Connection, claim: Discard, seconds: float) -> None:
    """End a claim behind which data is to be deleted (again), in so many seconds."""
    given_back = {"due_at": moment_in(seconds), "attempts": claim.attempts + 1}
    await connection.execute(discards.update().where(_is(claim)).values(given_back))


async def drop_discard(connection: Connection, discard: Discard) -> bool:
    """Forget data that an image has (again); False if none has, or somebody has claimed it."""
    named = _is_an_images(discard.place.url)
    answer = await connection.execute(discards.delete().where(_is(discard), named))
    return answer.rowcount == 1


async def admit_place(connection: Connection, image_id: str, url: str) -> None:
    """Let an image have data in a place, from the end of this transaction on.

    What is to be deleted there is not any more; `ConflictError` if that may be on its way.
    """
    others = sa.select(image_locations.c.image_id).where(
        image_locations.c.value == url, image_locations.c.image_id != image_id
    )
    holders = (await connection.execute(others)).scalars().all()
    if holders:
        # One who loses the place at this moment does so before us, and what that one owes is seen
        # below; or behind us, and then whoever deletes it sees us.
        counted = images.update().values(version=images.c.version + 1)
        await connection.execute(counted.where(images.c.id.in_(holders)))
    owed = sa.select(discards.c.id, discards.c.attempts).where(discards.c.value == url)
    rows = (await connection.execute(owed)).all()
    if any(row.attempts for row in rows):
        raise ConflictError("What was in that place before is being deleted: try again later.")
    for row in rows:
        mine = (discards.c.id == row.id, discards.c.attempts == 0)
        if (await connection.execute(discards.delete().where(*mine))).rowcount != 1:
            raise OvertakenError("Data is being deleted by others.")


async def is_location(connection: Connection, url: str, but: str | None = None) -> bool:
    """Tell whether an image (`but` for one, by its id) has its data in a place (again)."""
    question = sa.select(image_locations.c.id).where(image_locations.c.value == url)
    if but is not None:
        question = question.where(image_locations.c.image_id != but)
    return (await connection.execute(question.limit(1))).first() is not None


def _is(discard: Discard) -> sa.ColumnElement[bool]:
    """Tell a row that is still as it was read."""
    return sa.and_(discards.c.id == discard.id, discards.c.attempts == discard.attempts)


def _is_an_images(url: str) -> sa.Exists:
    return sa.exists().where(image_locations.c.value == url)


async def _found(connection: Connection, question: sa.Select[tuple[object, ...]]) -> list[Discard]:
    rows = await connection.execute(question)
    return [
        Discard(row.id, row.image_id, ImageLocation(row.value, row.meta_data), row.attempts)
        for row in rows
    ]
