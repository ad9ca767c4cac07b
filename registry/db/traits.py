"""Properties and tags that images must have to be listed, and the ways to find who has them.

No database can tell beforehand which way is short: to look for what few have along the order of a
list is to look at all images, and to sort all that have what is common takes as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from registry.db.columns import BEGINNING, beginning
from registry.db.database import Connection
from registry.db.tables import image_properties, image_tags, images

FEW = 500  # images that are looked at one by one, whatever the order
SOME = 5_000  # that are looked up and sorted sooner than all images are gone through in order

_WITH_TAG = sa.select(image_tags.c.image_id).where(image_tags.c.value == sa.bindparam("value"))
_WITH_SHORT_PROPERTY = sa.select(image_properties.c.image_id).where(
    image_properties.c.name == sa.bindparam("name"),
    beginning(image_properties.c.value) == sa.bindparam("beginning", type_=sa.String),
)
_WITH_PROPERTY = _WITH_SHORT_PROPERTY.where(
    # Equal; said so, SQLite would put the value into the line above, which no index has then.
    image_properties.c.value >= sa.bindparam("value"),
    image_properties.c.value <= sa.bindparam("value"),
)


def _questions(images_with: sa.Select[str]) -> tuple[sa.Select[str], sa.Select[int]]:
    """Return the questions which images these are, and how many."""
    limited = images_with.limit(sa.bindparam("limit"))
    return limited, sa.select(sa.func.count()).select_from(limited.subquery())


_TAGGED = _questions(_WITH_TAG)
_SHORT = _questions(_WITH_SHORT_PROPERTY)
_ANY = _questions(_WITH_PROPERTY)


@dataclass(frozen=True, slots=True)
class Trait:
    """A property or a tag."""

    value: str
    name: str | None = None  # of the property; None: a tag

    async def few(self, connection: Connection) -> list[str] | None:
        """Return the ids of all images that have it; None if they are more than FEW."""
        question, _ = self._questions(connection)
        ids = list((await connection.scalars(question, self._values(FEW + 1))).all())
        return ids if len(ids) <= FEW else None

    async def is_common(self, connection: Connection) -> bool:
        """Tell whether more than SOME images have it."""
        _, question = self._questions(connection)
        return (await connection.execute(question, self._values(SOME + 1))).scalar_one() > SOME

    def joined(self) -> sa.ColumnElement[bool]:
        """Return the condition "has it", for a database that may begin with all who have it."""
        if self.name is None:
            return sa.exists().where(
                image_tags.c.image_id == images.c.id, image_tags.c.value == self.value
            )
        return sa.exists().where(
            image_properties.c.image_id == images.c.id,
            image_properties.c.name == self.name,
            beginning(image_properties.c.value) == self.value[:BEGINNING],
            image_properties.c.value == self.value,
        )

    def looked_up(self) -> sa.ColumnElement[bool]:
        """Return the condition "has it", to be looked up image by image.

        No database makes a join of a value, as of EXISTS, and PostgreSQL takes `coalesce` for true of
        every second image: it goes along the order, and ends with the page.
        """
        its = sa.select(image_tags.c.value).where(
            image_tags.c.image_id == images.c.id, image_tags.c.value == self.value
        )
        if self.name is not None:
            its = sa.select(image_properties.c.value).where(
                image_properties.c.image_id == images.c.id, image_properties.c.name == self.name
            )
        return sa.func.coalesce(its.scalar_subquery() == self.value, sa.false())

    def _questions(self, connection: Connection) -> tuple[sa.Select[str], sa.Select[int]]:
        if self.name is None:
            return _TAGGED
        # A short value is its own beginning, but MySQL's index is of values.
        short = len(self.value) < BEGINNING and connection.dialect.name != "mysql"
        return _SHORT if short else _ANY

    def _values(self, limit: int) -> dict[str, str | int | None]:
        beginning_of = self.value[:BEGINNING]
        return {"name": self.name, "value": self.value, "beginning": beginning_of, "limit": limit}
