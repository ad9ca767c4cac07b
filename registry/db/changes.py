"""Rows of the feed of changes.  Every function runs in its caller's transaction.

The number of a change comes from the one row of `change_feed`, which its transaction locks until it
ends: so changes become visible in the order of their numbers, on every database, and whoever has
read up to a number has missed nothing below it.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

import sqlalchemy as sa

from registry.db.database import Connection
from registry.db.tables import change_feed, image_changes
from registry.domain.changes import ChangeHistory, ChangeKind, ChangeTail, ImageChange

CHANGES_KEPT = 100_000  # the newest; about 10 MB


async def add_change(connection: Connection, image_id: str, kind: ChangeKind) -> None:
    """Tell a change, and forget the oldest."""
    await connection.execute(change_feed.update().values(last=change_feed.c.last + 1))
    seq = (await connection.execute(sa.select(change_feed.c.last))).scalar_one()
    await connection.execute(image_changes.insert().values(seq=seq, image_id=image_id, kind=kind))
    await connection.execute(
        image_changes.delete().where(image_changes.c.seq <= seq - CHANGES_KEPT)
    )


async def get_history(connection: Connection) -> ChangeHistory:
    """Return where the feed stands."""
    feed = (await connection.execute(sa.select(change_feed))).one()
    oldest = (await connection.execute(sa.select(sa.func.min(image_changes.c.seq)))).scalar_one()
    return ChangeHistory(feed.epoch, feed.last if oldest is None else oldest - 1, feed.last)


async def get_tail(connection: Connection, count: int) -> ChangeTail:
    """Return the newest changes, at most `count`."""
    history = await get_history(connection)
    floor = max(history.floor, history.last - count)
    changes = await get_changes(connection, floor, count)
    return ChangeTail(replace(history, floor=floor), changes)


async def get_changes(connection: Connection, after: int, limit: int) -> tuple[ImageChange, ...]:
    """Return the first `limit` changes behind `after`."""
    question = sa.select(image_changes).where(image_changes.c.seq > after)
    rows = await connection.execute(question.order_by(image_changes.c.seq).limit(limit))
    return tuple(ImageChange(row.seq, row.image_id, ChangeKind(row.kind)) for row in rows)


async def renew_feed(connection: Connection) -> None:
    """Begin a new epoch, in which nothing has been told."""
    await connection.execute(image_changes.delete())
    await connection.execute(change_feed.update().values(epoch=secrets.token_hex(16), last=0))
