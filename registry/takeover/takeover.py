"""Takes the records of a Glance over: each image in a transaction of its own, as often as one likes.

What Glance told of an image is remembered with it.  So a run that was broken off goes on where it
ended, a later one takes what has changed since, and nothing is written over what was changed here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from registry.db.database import Connection, Database
from registry.db.images import delete_image
from registry.db.takeovers import Held, add_taken, get_held, replace_taken, taken_ids
from registry.domain.errors import RegistryError, UnavailableError
from registry.domain.image import Image, ImageLocation, Visibility
from registry.domain.status import Status, require_transition
from registry.service.clock import Clock, utc_now
from registry.service.stores import Stores
from registry.takeover.records import (
    Document,
    NotTakenError,
    Record,
    differences,
    direct_place,
    mark_of,
    read_places,
    read_record,
    require_places,
    require_taken,
    told_places,
)

T = TypeVar("T")

PARALLEL = 8  # images at once


class Outcome(StrEnum):
    """What became of an image."""

    TAKEN = "taken over"
    CHANGED = "brought up to date"
    SAME = "there already"
    GONE = "deleted here, as in Glance"
    LEFT = "not taken over"


@dataclass(slots=True)
class Report:
    """What a run did; `left` are images that it did not take over: id, name, and why."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    left: list[tuple[str, str | None, str]] = field(default_factory=list)


class Source(Protocol):
    """A Glance: `registry.takeover.source.GlanceSource`."""

    async def images(self, *, hidden: bool) -> list[Document]:
        """Return all records, those that lists show or those that they hide."""

    async def members(self, image_id: str) -> list[Document]:
        """Return whom an image is shared with."""

    async def locations(self, image_id: str) -> list[Document] | None:
        """Return where the data is; None where that is not told."""

    async def has(self, image_id: str) -> bool:
        """Tell whether there is such an image (still)."""


class Takeover:
    """Takes over, or with `dry_run` says what it would; `report` grows meanwhile."""

    def __init__(
        self,
        database: Database,
        source: Source,
        stores: Stores,
        *,
        dry_run: bool = False,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._source = source
        self._stores = stores
        self._dry_run = dry_run
        self._clock = clock
        self.report = Report()

    async def listed(self) -> dict[str, Document]:
        """Return what Glance has, by id."""
        shown = await self._source.images(hidden=False)
        hidden = await self._source.images(hidden=True)
        return {document["id"]: document for document in (*shown, *hidden)}

    async def take(self, documents: Iterable[Document], done: Callable[[], None]) -> None:
        """Take images over, several at once; `done` is told of each."""

        async def one(document: Document) -> None:
            try:
                outcome = await self._take(document)
            except UnavailableError:
                raise  # Glance, or the database: nothing more can be done
            except (NotTakenError, RegistryError) as reason:
                self._leave(document["id"], document.get("name"), str(reason))
            else:
                self.report.counts[outcome] += 1
            done()

        await _several(one, iter(documents))

    async def follow_deletions(self, there: Iterable[str]) -> None:
        """Delete the records of images that were taken over and that Glance has deleted since.

        Each is asked for once more: a list may miss an image that is changed while it is walked.
        """
        known = await self._database.query(taken_ids)

        async def one(image_id: str) -> None:
            if await self._source.has(image_id):
                return
            try:
                if not self._dry_run:
                    await self._database.change(self._delete, image_id)
            except UnavailableError:
                raise
            except (NotTakenError, RegistryError) as reason:
                self._leave(image_id, None, str(reason))
            else:
                self.report.counts[Outcome.GONE] += 1

        await _several(one, iter(sorted(set(known) - set(there))))

    async def compare(
        self, documents: Iterable[Document], done: Callable[[], None]
    ) -> list[tuple[str, str]]:
        """Say what the catalog has otherwise than Glance tells, of images that it took over: id, what."""
        found: list[tuple[str, str]] = []

        async def one(document: Document) -> None:
            held = await self._database.query(get_held, document["id"])
            if held.image is not None and held.told is not None:
                members = await self._members(document)
                places = await self._places(document)
                told = read_record(document, members, places)
                here = Record(held.image, held.members)
                found.extend((document["id"], each) for each in differences(told, here))
            elif not any(document["id"] == left for left, _, _ in self.report.left):
                found.append((document["id"], "is not here"))
            done()

        await _several(one, iter(documents))
        return sorted(found)

    async def _take(self, document: Document) -> Outcome:
        held = await self._database.query(get_held, document["id"])
        if held.is_deleted:
            raise NotTakenError("it was deleted here; its id is not used again")
        if held.image is not None and held.told is None:
            raise NotTakenError("another image has its id here")
        require_taken(document)
        members = await self._members(document)
        told = mark_of(document, members)
        if told == held.told:
            return Outcome.SAME
        places = await self._places(document)
        for place in places:
            self._require_store(place)
        record = read_record(document, members, places)
        if held.image is not None:
            _require_unchanged(held)
        if not self._dry_run:
            await self._database.change(self._write, record, told)
        return Outcome.TAKEN if held.image is None else Outcome.CHANGED

    async def _write(self, connection: Connection, record: Record, told: str) -> None:
        held = await get_held(connection, record.image.id)
        if held.image is None:
            await add_taken(connection, record.image, record.members, told, record.mark)
            return
        image = _require_unchanged(held)
        if image.status is not record.image.status:
            require_transition(image.status, record.image.status)
        await replace_taken(connection, image, record.image, record.members, told, record.mark)

    async def _delete(self, connection: Connection, image_id: str) -> None:
        held = await get_held(connection, image_id)
        if held.image is not None:
            image = _require_unchanged(held)
            require_transition(image.status, Status.DELETED)
            await delete_image(connection, image, self._clock())

    async def _members(self, document: Document) -> list[Document]:
        """Return whom an image is shared with; Glance tells it of shared images only."""
        shared = document["visibility"] == Visibility.SHARED
        return await self._source.members(document["id"]) if shared else []

    async def _places(self, document: Document) -> Sequence[ImageLocation]:
        places = told_places(document)
        if places is None and document["status"] != Status.QUEUED:
            told = await self._source.locations(document["id"])
            places = direct_place(document) if told is None else read_places(told)
        require_places(document, places)
        return places or ()

    def _require_store(self, place: ImageLocation) -> None:
        try:
            self._stores.holding(place)
        except UnavailableError as error:
            raise NotTakenError(str(error)) from None

    def _leave(self, image_id: str, name: str | None, reason: str) -> None:
        self.report.counts[Outcome.LEFT] += 1
        self.report.left.append((image_id, name, reason))


def _require_unchanged(held: Held) -> Image:
    assert held.image is not None
    if Record(held.image, held.members).mark != held.kept:
        raise NotTakenError("it was changed in Glance and here since it was taken over")
    return held.image


async def _several(work: Callable[[T], Awaitable[None]], items: Iterator[T]) -> None:
    """Do the work for all items, some at once; the first failure ends it all."""

    async def some() -> None:
        for item in items:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(PARALLEL):
                group.create_task(some())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
