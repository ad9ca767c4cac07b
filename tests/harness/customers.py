"""Customers of a catalog whose instances die: each tells a random story of images, and insists.

A request that failed is sent again until it is done, or now and then is given up.  All that was
acknowledged is written down in the ledger, with what may have been done besides.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from harness.image_clients import CUT, PATIENCE_SECONDS, PlainClient, Reply
from harness.ledger import Data, Entry, Ledger, Register, Write
from harness.mortals import OCTETS
from harness.waiting import passing
from harness.web_imports import WebOrigin

HEAL_SECONDS = 180.0  # in which a request that is sent again must be done
PAUSE_SECONDS = 0.2  # before the first repetition, then twice that, and so on
PAUSE_SECONDS_MAX = 2.0
IMPATIENCE_SECONDS = (0.05, 3.0)  # after which some go away
IMPATIENT_SHARE = 0.04
GIVING_UP_SHARE = 0.1  # of failed requests
SMALL_BYTES = (1, 1 << 20)
LARGE_BYTES = (1 << 20, 4 << 20)
LARGE_SHARE = 0.1
PAGE_IMAGES = 3
DEEDS = (2, 9)  # of each image
DELETED_SHARE = 0.6
CLEAR_STATUSES = frozenset({502, 503, 504})
LOCK = "os_glance_import_task"

Send = Callable[[], Awaitable[Reply]]
Writes = Sequence[tuple[Register[Any], Any]]


class StuckError(Exception):
    """A request did not heal, or was answered by what cannot be true: the story ends."""


class Customer:
    """Makes images, and does all kinds of things with them."""

    def __init__(
        self,
        number: int,
        seed: int,
        ledger: Ledger,
        *,
        clients: Sequence[PlainClient],
        neighbour: PlainClient,
        admin: PlainClient,
        neighbours_project: str,
        origin: WebOrigin,
    ) -> None:
        self.number = number
        self._chance = random.Random(seed * 1000 + number)
        self._ledger = ledger
        self._clients = clients  # its own, of every kind
        self._plain = clients[0]
        self._neighbour = neighbour
        self._admin = admin
        self._project = neighbours_project
        self._origin = origin
        self._count = 0
        self._is_again = False  # what is sent was sent before
        self._mine: list[Entry] = []

    async def live(self, over: asyncio.Event) -> None:
        """Tell stories until it is over."""
        while not over.is_set():
            try:
                await self._story()
            except StuckError as error:
                self._ledger.faults.append(f"customer {self.number}: {error}")

    async def _story(self) -> None:
        entry = await self._create()
        if entry is None:
            return
        await self._fill(entry)
        deeds = (
            *(self._change, self._change, self._change, self._tag, self._share),
            *(self._switch, self._copy, self._show, self._download, self._read_span),
            *(self._list, self._change_common, self._change_common),
        )
        for _ in range(self._chance.randint(*DEEDS)):
            await self._chance.choice(deeds)(entry)
        if self._chance.random() < DELETED_SHARE:
            await self._delete(entry)

    # --- insisting --------------------------------------------------------------------------------

    async def _insist(
        self,
        what: str,
        send: Send,
        good: int,
        *,
        writes: Writes = (),
        done: frozenset[int] = frozenset(),
        must: bool = False,
    ) -> Reply | None:
        """Send something until it is done; None if it was given up.

        `done`: what says, behind a failure, that it was done then.  `must`: it is not given up.
        """
        began, failures = time.monotonic(), 0
        while True:
            attempts = [(register, register.attempt(value)) for register, value in writes]
            reply = await self._sent(send, may_leave=not must)
            if reply.status == good or (failures and reply.status in done):
                self._healed(what, began, failures)
                for register, write in attempts:
                    register.acknowledge(write)
                return reply
            self._judge(what, reply)
            failures += 1
            self._withdraw(reply, attempts)
            if not must and self._chance.random() < GIVING_UP_SHARE:
                return None
            await self._pause(what, began, failures)

    async def _sent(self, send: Send, *, may_leave: bool = True) -> Reply:
        """Send something once; now and then go away before it is answered."""
        is_impatient = may_leave and self._chance.random() < IMPATIENT_SHARE
        if not is_impatient:
            return await send()
        self._plain.patience = self._chance.uniform(*IMPATIENCE_SECONDS)
        try:
            return await send()
        finally:
            self._plain.patience = PATIENCE_SECONDS

    @staticmethod
    def _withdraw(reply: Reply, attempts: Sequence[tuple[Register[Any], Write[Any]]]) -> None:
        if reply.is_refusal:
            for register, write in attempts:
                register.refuse(write)

    def _healed(self, what: str, began: float, failures: int) -> None:
        ledger = self._ledger
        ledger.acknowledged[what] += 1
        if failures:
            ledger.retried += failures
            ledger.longest = max(ledger.longest, time.monotonic() - began)

    def _judge(self, what: str, reply: Reply) -> None:
        """See that a failure is one that says so."""
        told = f"{what}: {reply.status} {' '.join(reply.text.split())[:300]}"
        if not reply.is_failure:
            raise StuckError(told)
        self._ledger.failed[f"{what}: {reply.status or 'cut'}"] += 1
        is_told = reply.text or what.startswith("standing")  # which has no body
        if reply.status != CUT and (reply.status not in CLEAR_STATUSES or not is_told):
            self._ledger.faults.append(f"customer {self.number}: no clear failure: {told}")
        if str(PATIENCE_SECONDS) in reply.text or "mismatch" in reply.text:
            self._ledger.faults.append(f"customer {self.number}: {told}")

    async def _pause(self, what: str, began: float, failures: int) -> None:
        if time.monotonic() > began + HEAL_SECONDS:
            raise StuckError(f"{what} did not heal in {HEAL_SECONDS} s")
        longest = min(PAUSE_SECONDS * 2.0**failures, PAUSE_SECONDS_MAX)
        await passing(self._chance.uniform(0, longest))

    def _client(self) -> PlainClient:
        return self._chance.choice(self._clients)

    def _value(self) -> str:
        self._count += 1
        return f"{self.number}-{self._count}"

    # --- an image comes to be -----------------------------------------------------------------------

    async def _create(self) -> Entry | None:
        client = self._client()
        is_large = self._chance.random() < LARGE_SHARE
        sizes = LARGE_BYTES if is_large else SMALL_BYTES
        data = Data(self._chance.getrandbits(20), self._chance.randint(*sizes))
        name, label = f"image {self._value()}", self._value()
        document = {"name": name, "tags": [f"of{self.number}"], "label": label}
        entry = Entry(str(UUID(int=self._chance.getrandbits(128), version=4)), self.number, data)
        entry.tags[f"of{self.number}"] = Register(True)
        entry.properties = {"name": Register(name), "label": Register(label)}
        if self._chance.random() < 0.8:
            self._ledger.entries[entry.id] = entry
            sent = {**document, "id": entry.id}
            found = await self._insist(
                "create",
                lambda: client.create(sent),
                201,
                writes=[(entry.status, "queued")],
                done=frozenset({409}),
            )
            if found is None:
                return None
            self._mine.append(entry)
            return entry

        def send() -> Awaitable[Reply]:
            self._ledger.names[name] += 1
            return client.create(document)

        found = await self._insist("create", send, 201)
        if found is None:
            return None
        self._ledger.created[name] += 1
        entry.id = found.body["id"]
        entry.status = Register("queued")
        self._ledger.entries[entry.id] = entry
        self._mine.append(entry)
        return entry

    async def _fill(self, entry: Entry) -> None:
        ways = (
            *(self._upload, self._upload, self._upload_in_steps, self._upload_in_steps),
            *(self._stage_and_import, self._stage_and_import, self._download_from_the_web),
            *(self._leave_empty, self._delete_meanwhile),
        )
        await self._chance.choice(ways)(entry)

    async def _leave_empty(self, entry: Entry) -> None:
        """Go on without data."""

    async def _upload(self, entry: Entry) -> None:
        client, chunked = self._client(), self._chance.random() < 0.5

        async def send() -> bool:
            return await self._tried(
                "upload",
                lambda: client.upload(entry.id, entry.data.content, chunked=chunked),
                204,
            )

        await self._bring("upload", entry, send, busy={"saving"})

    async def _tried(
        self, what: str, send: Send, good: int, again: frozenset[int] = frozenset({409})
    ) -> bool:
        """Send what may be in its own way behind a failure; say whether it was done."""
        reply = await self._sent(send)
        if reply.status == good:
            return True
        if reply.status not in again or not self._is_again:
            self._judge(what, reply)
        self._is_again = True
        return False

    async def _bring(
        self,
        what: str,
        entry: Entry,
        send: Callable[[], Awaitable[bool]],
        *,
        busy: set[str],
        then: str = "active",
    ) -> bool:
        """Send data until the image has it, looking at the image behind each failure."""
        began, failures = time.monotonic(), 0
        write = entry.status.attempt(then)
        self._is_again = False
        while not await send():
            failures += 1
            while True:
                await self._pause(what, began, failures)
                record = await self._record(entry)
                if self._has_arrived(record, then):
                    break
                if record["status"] == "queued" and LOCK not in record:
                    break
                if record["status"] not in {*busy, "queued"}:
                    raise StuckError(f"{what}: {entry.id} is {record['status']}")
            if self._has_arrived(record, then):
                break
        entry.status.acknowledge(write)
        self._healed(what, began, failures)
        return True

    @staticmethod
    def _has_arrived(record: dict[str, Any], then: str) -> bool:
        if then == "uploading":  # staged is what has a size
            return record["status"] == then and record["size"] is not None
        return bool(record["status"] == then)

    async def _record(self, entry: Entry) -> dict[str, Any]:
        reply = await self._insist("show", lambda: self._plain.show(entry.id), 200, must=True)
        assert reply is not None
        record: dict[str, Any] = reply.body
        return record

    async def _upload_in_steps(self, entry: Entry) -> None:
        """Send data that may be continued, and break off on purpose, too."""
        what, data, path = "upload in steps", entry.data.content, f"/{entry.id}/upload"
        write = entry.status.attempt("active")
        self._is_again = self._chance.random() < 0.5
        if self._is_again:
            headers = {**OCTETS, "Upload-Complete": "?0", "Upload-Length": str(len(data))}
            half = data[: len(data) // 2]
            reply = await self._plain.call("PUT", f"/{entry.id}/file", data=half, headers=headers)
            if reply.status != 204:
                self._judge(what, reply)
        began, failures = time.monotonic(), 0
        while not await self._continued(what, entry.id, path, data):
            failures += 1
            await self._pause(what, began, failures)
        entry.status.acknowledge(write)
        self._healed(what, began, failures)

    async def _continued(self, what: str, image: str, path: str, data: bytes) -> bool:
        """Send the rest of what may be continued; say whether all of it is there."""
        standing = await self._sent(lambda: self._plain.call("HEAD", path))
        method, target, offset = "PATCH", path, 0
        if standing.status == 404:
            method, target = "PUT", f"/{image}/file"
            headers = {**OCTETS, "Upload-Complete": "?1"}
        elif standing.status == 204:
            if standing.headers["Upload-Complete"] == "?1":
                return True
            offset = int(standing.headers["Upload-Offset"])
            headers = {
                "Content-Type": "application/partial-upload",
                "Upload-Offset": str(offset),
                "Upload-Complete": "?1",
            }
        else:
            self._judge(f"standing of an {what}", standing)
            return False
        return await self._tried(
            what,
            lambda: self._plain.call(method, target, data=data[offset:], headers=headers),
            204,
            again=frozenset({404, 409}),
        )

    async def _stage_and_import(self, entry: Entry) -> None:
        client = self._client()

        async def stage() -> bool:
            return await self._tried(
                "stage", lambda: client.stage(entry.id, entry.data.content), 204
            )

        await self._bring("stage", entry, stage, busy={"uploading"}, then="uploading")
        await self._import(entry, {"name": "glance-direct"}, "uploading")

    async def _download_from_the_web(self, entry: Entry) -> None:
        path = f"/{entry.data.seed}/{entry.data.size}"
        method = {"name": "web-download", "uri": self._origin.uri(path)}
        await self._import(entry, method, "queued")

    async def _import(self, entry: Entry, method: dict[str, str], before: str) -> None:
        both = self._chance.random() < 0.3
        stores = ["fast", "cheap"] if both else ["fast"]
        what = f"import by {method['name']}"
        began, failures = time.monotonic(), 0
        write = entry.status.attempt("active")
        entry.copied = Register(both)
        while True:
            reply = await self._sent(lambda: self._plain.begin_import(entry.id, method, stores))
            if reply.status == 202:
                break
            if reply.status != 409 or not failures:
                self._judge(what, reply)
            failures += 1
            await self._pause(what, began, failures)
            record = await self._record(entry)
            if record["status"] != before or LOCK in record:
                break
        await self._imported(what, entry, began, failures)
        entry.status.acknowledge(write)
        self._healed(what, began, failures)

    async def _imported(self, what: str, entry: Entry, began: float, failures: int) -> None:
        """Wait for the end of an import that was accepted; it has no reason to fail."""
        while True:
            record = await self._record(entry)
            if LOCK not in record and record["status"] == "active":
                return
            if LOCK not in record:
                tasks = await self._plain.call("GET", f"/{entry.id}/tasks")
                raise StuckError(f"{what}: {entry.id} is {record['status']}: {tasks.text}")
            await self._pause(what, began, max(failures, 2))

    async def _delete_meanwhile(self, entry: Entry) -> None:
        """Delete an image while its data comes."""
        data = entry.data.content
        uploading = asyncio.create_task(self._plain.upload(entry.id, data, chunked=True))
        try:
            await passing(self._chance.uniform(0, 0.1))
            await self._delete(entry)
        finally:
            with suppress(asyncio.CancelledError):
                await uploading

    # --- what is done with images ---------------------------------------------------------------------

    def _is(self, entry: Entry, status: str) -> bool:
        return entry.status.is_sure and entry.status.sure == status

    def _is_there(self, entry: Entry) -> bool:
        return "deleted" not in entry.status.possible and entry.status.sure != "none"

    async def _change(self, entry: Entry) -> None:
        """Write properties: one or two, each value once."""
        if not self._is_there(entry):
            return
        client = self._client()
        names = self._chance.sample(["name", "label", "use", "place"], self._chance.randint(1, 2))
        values = {name: self._value() for name in names}
        registers = [entry.properties.setdefault(name, Register(None)) for name in names]
        removed: tuple[str, ...] = ()
        writes: list[tuple[Register[Any], Any]] = list(zip(registers, values.values(), strict=True))
        gone = entry.properties.get("gone")
        if gone is not None and gone.is_sure and gone.sure is not None:
            removed, writes = ("gone",), [*writes, (gone, None)]
        elif self._chance.random() < 0.3:
            values["gone"] = self._value()
            gone = entry.properties.setdefault("gone", Register(None))
            writes.append((gone, values["gone"]))
        await self._insist(
            "patch",
            lambda: client.change(entry.id, values, removed),
            200,
            writes=writes,
            # A property that is not there cannot be removed: it was, then.
            done=frozenset({409}) if removed else frozenset(),
        )

    async def _change_common(self, _entry: Entry) -> None:
        """Write a property of an image that all write to."""
        entry = self._chance.choice(self._ledger.common)
        name, value = f"of{self.number}", self._value()
        register = entry.properties.setdefault(name, Register(None))
        await self._insist(
            "patch what all patch",
            lambda: self._admin.change(entry.id, {name: value}),
            200,
            writes=[(register, value)],
        )

    async def _tag(self, entry: Entry) -> None:
        if not self._is_there(entry):
            return
        client, tag = self._client(), self._chance.choice("ab")
        there = entry.tags.setdefault(tag, Register(False))
        if not there.is_sure:
            return
        if there.sure:
            gone = frozenset({404})
            writes = [(there, False)]
            await self._insist(
                "untag", lambda: client.untag(entry.id, tag), 204, writes=writes, done=gone
            )
        else:
            await self._insist(
                "tag", lambda: client.tag(entry.id, tag), 204, writes=[(there, True)]
            )

    async def _share(self, entry: Entry) -> None:
        """Share an image with the neighbour, who accepts it, or share it no more."""
        if not self._is_there(entry):
            return
        client, project = self._client(), self._project
        member = entry.members.setdefault(project, Register(None))
        if not member.is_sure:
            return
        if member.sure is None:
            await self._insist(
                "share",
                lambda: client.share(entry.id, project),
                200,
                writes=[(member, "pending")],
                done=frozenset({409}),
            )
        elif member.sure == "pending":
            await self._insist(
                "accept",
                lambda: self._neighbour.accept(entry.id, project),
                200,
                writes=[(member, "accepted")],
            )
        else:
            await self._insist(
                "unshare",
                lambda: client.unshare(entry.id, project),
                204,
                writes=[(member, None)],
                done=frozenset({404}),
            )

    async def _switch(self, entry: Entry) -> None:
        """Deactivate an image, and reactivate it."""
        for before, action, then in (
            ("active", "deactivate", "deactivated"),
            ("deactivated", "reactivate", "active"),
        ):
            if self._is(entry, before):
                client = self._client()
                client = self._plain if client.kind == "openstacksdk" else client
                send = partial(client.act, entry.id, action)
                await self._insist(action, send, 204, writes=[(entry.status, then)])

    async def _copy(self, entry: Entry) -> None:
        """Copy an image to the other store."""
        if not self._is(entry, "active") or True in entry.copied.possible:
            return
        what, began, failures = "import by copy-image", time.monotonic(), 0
        write = entry.copied.attempt(True)
        while True:
            reply = await self._sent(
                lambda: self._admin.begin_import(entry.id, {"name": "copy-image"}, ["cheap"])
            )
            if reply.status == 202:
                break
            if reply.status not in {400, 409} or not failures:
                self._judge(what, reply)
            failures += 1
            await self._pause(what, began, failures)
            record = await self._record(entry)
            if LOCK in record or "cheap" in record["stores"]:
                break
        await self._imported(what, entry, began, failures)
        record = await self._record(entry)
        if "cheap" not in record["stores"]:
            tasks = await self._plain.call("GET", f"/{entry.id}/tasks")
            raise StuckError(f"{what}: {entry.id}: {tasks.text}")
        entry.copied.acknowledge(write)
        self._healed(what, began, failures)

    async def _delete(self, entry: Entry) -> None:
        if not self._is_there(entry):
            return
        client = self._client()
        await self._insist(
            "delete",
            lambda: client.delete(entry.id),
            204,
            writes=[(entry.status, "deleted")],
            done=frozenset({404}),
        )

    # --- what is read -----------------------------------------------------------------------------------

    async def _show(self, entry: Entry) -> None:
        if not self._is_there(entry):
            return
        client = self._client()
        reply = await self._insist("show", lambda: client.show(entry.id), 200)
        if reply is not None:
            self._ledger.faults += entry.differences(reply.body)

    async def _download(self, entry: Entry) -> None:
        if not self._is(entry, "active"):
            return
        client = self._client()
        reply = await self._insist("download", lambda: client.download(entry.id), 200)
        if reply is not None and reply.body != entry.data.content:
            self._ledger.faults.append(f"{entry.id} has other bytes")

    async def _read_span(self, entry: Entry) -> None:
        if not self._is(entry, "active"):
            return
        start = self._chance.randrange(entry.data.size)
        stop = self._chance.randint(start + 1, entry.data.size)
        reply = await self._insist(
            "read a range", lambda: self._plain.read_span(entry.id, start, stop), 206
        )
        if reply is not None and reply.body != entry.data.content[start:stop]:
            self._ledger.faults.append(f"{entry.id} has other bytes from {start} to {stop}")

    async def _list(self, _entry: Entry) -> None:
        """Read the list of the own images, page by page; each page may come from another instance."""
        order = self._chance.choice(["created_at:asc", "created_at:desc", "name:asc"])
        query = f"?tag=of{self.number}&limit={PAGE_IMAGES}&sort={order}"
        found: list[str] = []
        while query:
            reply = await self._insist("list", partial(self._plain.page, query), 200)
            if reply is None:
                return
            found += [image["id"] for image in reply.body["images"]]
            query = reply.body.get("next", "").removeprefix("/v2/images")
        faults = self._ledger.faults
        if len(found) != len(set(found)):
            faults.append(f"customer {self.number}: an image is twice in the list: {found}")
        for entry in self._mine:
            if self._is_there(entry) and entry.id not in found:
                faults.append(f"customer {self.number}: {entry.id} is not in the list")
            if self._is(entry, "deleted") and entry.id in found:
                faults.append(f"customer {self.number}: {entry.id} is in the list, and deleted")
