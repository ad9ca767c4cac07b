"""Holds what is left in a catalog, its database and its stores against what was acknowledged."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from harness.fleet import STAGING, STORES, Fleet
from harness.image_clients import PlainClient
from harness.ledger import Entry, Ledger
from harness.waiting import until_async
from registry.db import tables
from registry.db.clock import moment_in
from registry.db.database import Connection, Database
from registry.db.options import DatabaseSettings

CALM_SECONDS = 150.0  # a minute for who died while staging, and leases and retries of jobs
EMPTY = (
    tables.image_uploads,
    tables.image_upload_parts,
    tables.quota_reservations,
    tables.discards,
)
RECURRING = frozenset({"survey", "janitor", "scrub", "forget-tasks"})
BUSY = frozenset({"saving", "importing", "uploading", "pending_delete"})
DOWNLOADS_MAX = 40  # from each instance
UNWANTED = ("Traceback", "never retrieved", "was destroyed but it is pending")


class Audit:
    """A look at everything, when nobody changes anything any more."""

    def __init__(
        self, fleet: Fleet, database: Database, ledger: Ledger, admins: list[PlainClient]
    ) -> None:
        self._fleet = fleet
        self._database = database
        self._ledger = ledger
        self._admins = admins  # one at each instance

    async def hold(self) -> dict[str, Any]:
        """Wait until all that is owed is done, and return figures; AssertionError for what is wrong."""
        faults = [*self._ledger.faults]
        try:
            await until_async("nothing to be owed", self._is_settled, CALM_SECONDS)
        except AssertionError:
            faults.append(f"still to be done: {await self._database.query(_unsettled)}")
        faults += [
            *await self._records(),
            *await self._rows(),
            *await asyncio.to_thread(self._logs),
        ]
        assert not faults, "\n".join(faults[:50])
        entries = self._ledger.entries.values()
        return {
            "images": len(self._ledger.entries),
            "images at the end": sum(each.status.sure in {"active", "queued"} for each in entries),
            "operations acknowledged": self._ledger.acknowledged.total(),
            "acknowledged": dict(sorted(self._ledger.acknowledged.items())),
            "requests failed": self._ledger.failed.total(),
            "failed": dict(sorted(self._ledger.failed.items())),
            "requests repeated until they were done": self._ledger.retried,
            "longest time until a failed request was done, seconds": round(self._ledger.longest, 1),
        }

    async def _is_settled(self) -> bool:
        left = await self._database.query(_unsettled)
        if set(left) == {tables.discards.name}:
            await self._database.change(_let_places_open)
        return not left

    async def _records(self) -> list[str]:
        """Compare what each instance tells with what was acknowledged."""
        faults: list[str] = []
        ledger = self._ledger
        for admin in self._admins:
            listed = await self.every_record(admin)
            names = Counter(image["name"] for image in listed)
            if len(listed) != len({image["id"] for image in listed}):
                faults.append("an image is twice in the list")
            found = {image["id"]: image for image in listed}
            for name, attempts in ledger.names.items():
                if not ledger.created[name] <= names[name] <= attempts and name in names:
                    faults.append(f"{names[name]} images {name}, {attempts} attempts")
            for entry in (*ledger.entries.values(), *ledger.common):
                faults += await self._entry(admin, entry, found.get(entry.id))
            known = {entry.id for entry in (*ledger.entries.values(), *ledger.common)}
            for image in listed:
                if image["id"] not in known and image["name"] not in ledger.names:
                    faults.append(f"{image['id']} is nobody's")
            faults += await self._downloads(admin, found)
        return faults

    async def every_record(self, admin: PlainClient) -> list[dict[str, Any]]:
        """Return all records that an instance tells of."""
        query, listed = "?limit=100", []
        while query:
            reply = await admin.page(query)
            assert reply.status == 200, reply
            listed += reply.body["images"]
            query = reply.body.get("next", "").removeprefix("/v2/images")
        return listed

    async def _entry(
        self, admin: PlainClient, entry: Entry, image: dict[str, Any] | None
    ) -> list[str]:
        if image is None:
            reply = await admin.show(entry.id)
            gone = {"none", "deleted"} & set(entry.status.possible)
            return [] if reply.status == 404 and gone else [f"{entry} is lost: {reply.status}"]
        faults = entry.differences(image)
        if any(name.startswith("os_glance") and value for name, value in image.items()):
            faults.append(f"{entry.id} shows an import: {image}")
        if entry.members:
            reply = await admin.call("GET", f"/{entry.id}/members")
            members = {each["member_id"]: each["status"] for each in reply.body["members"]}
            faults += [
                f"{entry.id} is shared with {project}: {members.get(project)}, not {register}"
                for project, register in entry.members.items()
                if members.get(project) not in register.possible
            ]
        return faults

    async def _downloads(self, admin: PlainClient, found: dict[str, dict[str, Any]]) -> list[str]:
        whole = [
            entry
            for entry in self._ledger.entries.values()
            if found.get(entry.id, {}).get("status") in {"active", "deactivated"}
        ]
        faults = []
        for entry in random.Random(1).sample(whole, min(DOWNLOADS_MAX, len(whole))):
            for store in found[entry.id]["stores"].split(","):
                reply = await admin.call("GET", f"/{entry.id}/file?prefer={store}")
                if reply.status != 200 or reply.body != entry.data.content:
                    faults.append(f"{entry.id} is not downloaded from {store}: {reply.status}")
        return faults

    async def _rows(self) -> list[str]:
        """Compare the database with the stores."""
        places, given_up, tasks = await self._database.query(_left)
        faults = [f"a job was given up: {each}" for each in given_up]
        faults += [f"a task is open: {each}" for each in tasks]
        by_store: dict[str, Counter[str]] = {store: Counter() for store in STORES}
        for image, store, url in places:
            by_store[store][image] += 1
            if not url.endswith(f"/{store}/{image}"):
                faults.append(f"{image} is at {url}")
        for store, counted in by_store.items():
            there = await asyncio.to_thread(self._fleet.names_in, store)
            faults += [f"{image} is {n} times in {store}" for image, n in counted.items() if n > 1]
            faults += [f"{name} in {store} is nobody's" for name in there - counted.keys()]
            faults += [f"{image} is missing in {store}" for image in counted.keys() - there]
        left = await asyncio.to_thread(self._fleet.names_in, STAGING)
        return faults + [f"{name} is still staged" for name in left]

    def _logs(self) -> list[str]:
        faults = []
        for instance in self._fleet.instances:
            text = instance.log.read_text()
            for word in UNWANTED:
                at = text.find(word)
                if at >= 0:
                    faults.append(f"{instance.log.name}: {text[max(0, at - 600) : at + 1500]}")
        return faults


async def _let_places_open(connection: Connection) -> None:
    """Let the half hour pass for which the places of those who were killed are closed."""
    discards = tables.discards
    given_back = discards.update().where(discards.c.attempts > 0, discards.c.attempts % 2 == 0)
    await connection.execute(given_back.values(due_at=moment_in(0)))


async def _unsettled(connection: Connection) -> Counter[str]:
    found: Counter[str] = Counter()
    for table in EMPTY:
        count = (await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar()
        found[table.name] += count or 0
    jobs = tables.jobs.c
    question = sa.select(jobs.kind).where(jobs.kind.not_in(RECURRING), jobs.given_up_at.is_(None))
    found.update((await connection.execute(question)).scalars())
    images = tables.images.c
    busy = sa.select(images.status).where(images.status.in_(BUSY), images.deleted.is_(sa.false()))
    found.update((await connection.execute(busy)).scalars())
    return +found


async def _left(
    connection: Connection,
) -> tuple[list[tuple[str, str, str]], list[Any], list[Any]]:
    """Return where data is, which jobs were given up, and which tasks have not ended."""
    locations, images = tables.image_locations, tables.images.c
    question = sa.select(locations.c.image_id, locations.c.meta_data, locations.c.value)
    alive = question.join(tables.images, images.id == locations.c.image_id)
    rows = await connection.execute(alive.where(images.deleted.is_(sa.false())))
    places = [(image, meta["store"], url) for image, meta, url in rows]
    jobs, tasks = tables.jobs.c, tables.tasks.c
    given_up = sa.select(jobs.kind, jobs.image_id, jobs.reason).where(jobs.given_up_at.is_not(None))
    open_ = sa.select(tasks.id, tasks.status).where(tasks.status.in_(["pending", "processing"]))
    return (
        places,
        list(await connection.execute(given_up)),
        list(await connection.execute(open_)),
    )


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Open a catalog's database beside the instances."""
    database = await asyncio.to_thread(Database, DatabaseSettings(url, max_pool_size=1))
    try:
        yield database
    finally:
        await database.aclose()
