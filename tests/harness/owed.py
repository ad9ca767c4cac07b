"""The deletions that a catalog owes, whenever they are due."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.database import Connection, Database
from registry.db.discards import Discard, image_discards
from registry.db.tables import discards


async def owed(database: Database) -> list[Discard]:
    """Return what the images of a database have left."""

    async def ask(connection: Connection) -> list[Discard]:
        names = sa.select(discards.c.image_id).distinct().order_by(discards.c.image_id)
        found = (await connection.execute(names)).scalars().all()
        return [each for name in found for each in await image_discards(connection, name)]

    return await database.query(ask)
