"""The database's clock, which nobody moves: what is to come moves nearer instead."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest
import sqlalchemy as sa

from registry.db.clock import moment_in
from registry.db.database import Connection, Database


class DatabaseClock:
    """Time that passes when tests let it, for the moments in some columns."""

    def __init__(self, database: Database, *columns: sa.Column[Any]) -> None:
        self._database = database
        self._columns = columns

    async def now(self) -> datetime:
        """Return the database's time."""

        async def ask(connection: Connection) -> datetime:
            moment: datetime = (await connection.execute(sa.select(moment_in(0)))).scalar_one()
            return moment

        return await self._database.ask(ask)

    async def move(self, seconds: float) -> None:
        """Let so much time pass."""
        await self._database.change(self._move, timedelta(seconds=seconds))

    async def _move(self, connection: Connection, ago: timedelta) -> None:
        for column in self._columns:
            table, key = column.table, column.table.c.id
            assert isinstance(table, sa.Table)
            known = sa.select(key, column).where(column.is_not(None)).with_for_update()
            for row_id, moment in (await connection.execute(known)).all():
                earlier = {column.name: moment - ago}
                await connection.execute(table.update().where(key == row_id).values(earlier))

    async def require(self, moment: datetime, since: datetime, seconds: float) -> None:
        """Hold a moment to be so long after one that lies between `since` and now."""
        pause = timedelta(seconds=seconds)
        assert since + pause <= moment <= await self.now() + pause


def mislead(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """Let the clock of this process be wrong by so many hours from now on."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr("registry.service.clock.datetime", Wrong)
