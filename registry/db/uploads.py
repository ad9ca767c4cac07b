"""Rows of uploads: who puts data into a store for an image, and until when that one is alive.

Every function runs in its caller's transaction.  A row is held by whoever knows its `holder`, and
stays until nothing is left in the store that no record names.  Times are those of the database's
clock, so that an instance whose own is wrong robs nobody.

Whoever changes a row of these and an image in one transaction changes the row first: renewals hold
many of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from registry.db.clock import unix_seconds
from registry.db.database import Connection
from registry.db.tables import image_uploads as uploads
from registry.domain.errors import ConflictError

NOBODY = ""  # the holder of an upload that waits to be continued
FINISHER = "finish."  # begins the name of a holder who makes the image of an upload


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An upload of `image_id` into a store, nobody's if the holder is "".

    One that may be continued is kept until a moment, and may have a length that is known.  `begun`
    is the store that may hold something of it: what has its name there is its own.
    """

    image_id: str
    holder: str
    store: str
    expires_at: int = 0  # as it was when it was read
    kept_until: int | None = None
    length: int | None = None
    begun: str | None = None


async def add_upload(
    connection: Connection, row: UploadRow, seconds: int, kept_seconds: int | None = None
) -> None:
    """Begin an upload, one that may be continued if it is kept.

    ConflictError while one is going on, or what one has left is there.
    """
    try:
        await connection.execute(
            uploads.insert().values(
                image_id=row.image_id,
                holder=row.holder,
                store=row.store,
                expires_at=unix_seconds() + seconds,
                kept_until=None if kept_seconds is None else unix_seconds() + kept_seconds,
                length=row.length,
            )
        )
    except IntegrityError:
        raise ConflictError(
            f"Image {row.image_id}: what an earlier upload left is not taken away yet."
        ) from None


async def renew_uploads(
    connection: Connection, holders: Collection[str], seconds: int
) -> frozenset[str]:
    """Let uploads live on for so long; return the holders who have lost theirs."""
    mine = uploads.c.holder.in_(holders)
    answer = await connection.execute(
        uploads.update().where(mine).values(expires_at=unix_seconds() + seconds)
    )
    if answer.rowcount == len(holders):
        return frozenset()
    there = (await connection.execute(sa.select(uploads.c.holder).where(mine))).scalars()
    return frozenset(holders) - frozenset(there)


async def end_upload(connection: Connection, image_id: str, holder: str) -> bool:
    """Forget an upload; False if it is not (any more) the holder's."""
    answer = await connection.execute(
        uploads.delete().where(uploads.c.image_id == image_id, uploads.c.holder == holder)
    )
    return answer.rowcount == 1


async def take_upload(connection: Connection, row: UploadRow, holder: str, seconds: int) -> bool:
    """Put another in the holder's place, or hold it; False if it is not (any more) the holder's.

    Nobody else changes the row in a transaction beside this one.
    """
    return await _change(connection, row, holder=holder, expires_at=_other_moment(seconds))


async def begin_upload(connection: Connection, row: UploadRow, seconds: int) -> bool:
    """Note that something may be in the row's store from now on; False if it is not the holder's."""
    return await _change(connection, row, begun=row.store, expires_at=_other_moment(seconds))


async def take_dead_upload(
    connection: Connection, row: UploadRow, holder: str, seconds: int
) -> bool:
    """Take an upload over that has not been renewed since it was read as dead; False if it was."""
    answer = await connection.execute(
        uploads.update()
        .where(
            uploads.c.image_id == row.image_id,
            uploads.c.holder == row.holder,
            uploads.c.expires_at == row.expires_at,
        )
        .values(holder=holder, expires_at=unix_seconds() + seconds)
    )
    return answer.rowcount == 1


async def dead_uploads(connection: Connection, most: int) -> tuple[UploadRow, ...]:
    """Return uploads whose holders are not alive, those first that have been so for longest."""
    is_dead = uploads.c.expires_at < unix_seconds()
    question = sa.select(uploads).where(is_dead).order_by(uploads.c.expires_at).limit(most)
    return tuple(UploadRow(*row) for row in await connection.execute(question))


async def get_upload(connection: Connection, image_id: str) -> UploadRow | None:
    """Return the upload of an image that is going on, or may be continued."""
    question = sa.select(uploads).where(uploads.c.image_id == image_id)
    row = (await connection.execute(question)).one_or_none()
    return None if row is None else UploadRow(*row)


async def is_being_finished(connection: Connection, row: UploadRow) -> bool:
    """Tell whether the holder makes the image of an upload, and is alive."""
    if not row.holder.startswith(FINISHER):
        return False
    question = sa.select(uploads.c.image_id).where(
        uploads.c.image_id == row.image_id,
        uploads.c.holder == row.holder,
        uploads.c.expires_at >= unix_seconds(),
    )
    return (await connection.execute(question)).first() is not None


async def rest_upload(connection: Connection, row: UploadRow) -> bool:
    """Let anybody continue an upload while it is kept; False if it is not the holder's (any more).

    What it may have left in a store is as the row has it.
    """
    return await _change(
        connection, row, holder=NOBODY, expires_at=uploads.c.kept_until, begun=row.begun
    )


async def give_up_upload(connection: Connection, image_id: str) -> None:
    """Let the janitor settle an upload that nobody is at."""
    await connection.execute(
        uploads.update()
        .where(uploads.c.image_id == image_id, uploads.c.holder == NOBODY)
        .values(expires_at=0)
    )


async def _change(connection: Connection, row: UploadRow, **values: Any) -> bool:
    mine = uploads.c.image_id == row.image_id, uploads.c.holder == row.holder
    answer = await connection.execute(uploads.update().where(*mine).values(**values))
    return answer.rowcount == 1


def _other_moment(seconds: int) -> sa.ColumnElement[int]:
    """Return a moment so long from now which is not the row's: Galera sends nobody what changes nothing."""
    until = unix_seconds() + seconds
    return sa.case((uploads.c.expires_at == until, until + 1), else_=until)


async def is_kept(connection: Connection, image_id: str) -> bool:
    """Tell whether an upload may still be continued."""
    question = sa.select(uploads.c.image_id).where(
        uploads.c.image_id == image_id, uploads.c.kept_until > unix_seconds()
    )
    return (await connection.execute(question)).first() is not None
