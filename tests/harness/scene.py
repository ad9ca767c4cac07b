"""One cache directory over which the real program is started, killed and started again.

    async with scene(tmp_path) as made:
        await made.start()
        await made.work("fill")      # clients, all at once, each byte compared
        ...
        await made.recovered()       # started again by itself, or by us if all of it is gone
        await made.look_through()    # nothing wrong, nothing lost, nothing leaked
        await made.stop()

`work` does what is needed so that the steps of a group are met; `prepare` changes the directory,
while nobody uses it, so that a start meets its own.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from backends.spans import Span
from cacheproxy.store.digest import digest_of
from cacheproxy.store.pintext import unpack
from cacheproxy.store.tree import PINS
from harness.commands import Commands
from harness.downloads import Clients, Download, clients
from harness.http import ask
from harness.index_file import downgrade, forget_scrub
from harness.inject.steering import Steering
from harness.node import Node, async_node
from harness.origin import Hold, Origin, OriginImage, Ranges, origin
from harness.program import REPOSITORY
from harness.steps import Group, all_names
from harness.store_case import allocated_by_us, planted
from harness.story import READY, STARTED, figure
from harness.survey import Survey, nameless_bytes
from harness.waiting import until

CHUNK = 256 << 10
WARM_SIZE = 6 * CHUNK + 4321
ROOMY, TIGHT = 512 << 20, 24 << 20  # room for all images of a test; for three or four
WORKERS = 2
IMAGES_MAX = 60  # remembered; more than a test uses between two starts
CONFIGURATION = """
[DEFAULT]
drain_seconds = 5
[cache]
chunk_bytes = 262144
keeper_wait_seconds = 2
bypass_rereads_max = 64
scrub_rate = 268435456
"""
KILLED = -signal.SIGKILL
END_SECONDS = 10.0  # of a program of which all processes are killed


@dataclass(eq=False, repr=False)
class Scene:
    """The directory, the origin, and the program while it runs."""

    directory: Path
    glance: Origin
    steering: Steering
    limit_bytes: int
    chance: random.Random
    survey: Survey | None = None
    warm: list[OriginImage] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)
    liars: set[str] = field(default_factory=set)  # images that do not match their hash
    lost: list[Download] = field(default_factory=list)  # those that did not get all they asked for
    held: list[Hold] = field(default_factory=list)  # where the origin waits until the next start
    pinned: dict[str, bool] = field(
        default_factory=dict
    )  # by image: what was answered with success
    served: int = 0
    _stack: AsyncExitStack | None = None
    _node: Node | None = None
    _ask: Clients | None = None

    def __repr__(self) -> str:
        return f"<Scene {len(self.images)} images, {self.lost} lost>"

    # --- the program ------------------------------------------------------------------------------

    @property
    def cache(self) -> Path:
        """Return the cache directory."""
        return self.directory / "cache"

    @property
    def node(self) -> Node:
        """Return the running program."""
        assert self._node is not None
        return self._node

    @property
    def commands(self) -> Commands:
        """Return its command line."""
        return Commands(self.directory / "cacheproxy.conf")

    @property
    def ask(self) -> Clients:
        """Return its clients."""
        assert self._ask is not None
        return self._ask

    async def start(self) -> None:
        """Start the program; once more, if it was killed as it started."""
        try:
            await self._start()
        except AssertionError:
            if not self.steering.fired:
                raise
            await self._start()

    async def _start(self) -> None:
        while self.held:
            self.held.pop().release.set()
        paths = (REPOSITORY / "tests/harness/inject", REPOSITORY / "tests", REPOSITORY)
        stack = AsyncExitStack()
        try:
            self._node = await stack.enter_async_context(
                async_node(
                    self.directory,
                    self.glance.url,
                    workers=WORKERS,
                    limit_bytes=self.limit_bytes,
                    more=CONFIGURATION,
                    environment={
                        "PYTHONPATH": ":".join(map(str, paths)),
                        "STEERED_BY": str(self.directory / "steering"),
                    },
                    codes=(0, KILLED),
                )
            )
            self._ask = await stack.enter_async_context(clients(self._node.url))
            log, program = self._node.program.log, self._node.program
            await asyncio.to_thread(
                until,
                "all processes",
                lambda: READY in log.read_text() or program.process.poll() is not None,
            )
            assert program.process.poll() is None, "it ended as it started"
        except BaseException:
            await stack.aclose()
            raise
        self._stack = stack

    async def stop(self) -> None:
        """Stop it; it may have been killed, or be killed as it stops."""
        stack, self._stack = self._stack, None
        assert stack is not None
        log = self.node.program.log
        await stack.aclose()
        text = await asyncio.to_thread(log.read_text)
        assert "Traceback" not in text, text[text.index("Traceback") - 500 :]
        assert "never retrieved" not in text

    async def recovered(self, *, everything: bool) -> None:
        """Wait until the victim is replaced; start all of it again if that is not done yet."""
        if not everything:
            # Until the supervisor knows of a worker's death, it may hand it clients.
            await asyncio.to_thread(
                until, "another one", lambda: self.steering.fired not in self._latest().values()
            )
            return
        text = await asyncio.to_thread(self.node.program.log.read_text)
        if self.steering.fired in {int(pid) for _, pid in STARTED.findall(text)}:
            await asyncio.to_thread(self.node.program.process.wait, END_SECONDS)
            await self.stop()
            await self.start()

    def _latest(self) -> dict[str, int]:
        found = STARTED.findall(self.node.program.log.read_text())
        return {name: int(pid) for name, pid in found}

    def pid(self, name: str) -> int:
        """Return the latest process of the keeper or `worker N`."""
        return self._latest()[name]

    def processes(self) -> list[int]:
        """Return the program's processes now."""
        if self._node is None:
            return []
        pid = self._node.program.process.pid
        try:
            return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return []

    # --- what is to be had ------------------------------------------------------------------------

    def add(self, data: bytes, ranges: Ranges = "yes", *, lies: bool = False) -> OriginImage:
        """Have the origin offer an image; one that lies has another hash than its data."""
        record = {"os_hash_value": "0" * 128, "checksum": "0" * 32} if lies else None
        image = self.glance.add(data, ranges=ranges, record=record)
        self.images[image.id] = data
        if len(self.images) > IMAGES_MAX:
            old = next(each for each in self.images if each not in {w.id for w in self.warm})
            del self.images[old], self.glance.images[old]
        if lies:
            self.liars.add(image.id)
        return image

    def fresh(self, size: int = WARM_SIZE) -> bytes:
        """Return an image's data that nobody has seen."""
        return self.chance.randbytes(size)

    async def warm_up(self) -> None:
        """Fill the images that have to stay, and have everything committed."""
        await self.start()
        for ranges in ("yes", "refused", "yes"):
            image = self.add(self.fresh(), ranges=ranges)
            await self.fetch(image)
            self.warm.append(image)
        await self.look_through()
        await self.stop()

    async def fetch(self, image: OriginImage, span: Span | None = None) -> Download:
        """Download, and compare every byte that comes, also of what breaks off."""
        data = self.images[image.id]
        wanted = data if span is None else data[span.start : span.stop]
        asked = None if span is None else f"bytes={span.start}-{span.stop - 1}"
        download = self.ask(image.id, asked)
        ending = await download.ended()
        whole = ending == "whole" and download.status == (200 if span is None else 206)
        if download.status in (200, 206):
            assert wanted.startswith(download.data), f"wrong bytes of {image.id} {span}"
            assert not whole or len(download.data) == len(wanted)
        self.served += len(download.data)
        if not whole and image.id not in self.liars:
            self.lost.append(download)
        return download

    def span(self, image: OriginImage) -> Span:
        """Choose some part of an image."""
        size = len(self.images[image.id])
        start, stop = sorted(self.chance.sample(range(size + 1), 2))
        return Span(start, stop)

    # --- clients at work --------------------------------------------------------------------------

    async def work(self, group: Group) -> None:
        """Have clients do what meets the steps of a group; what they lost is in `lost`."""
        jobs: list[Coroutine[Any, Any, object]]
        match group:
            case "evict":
                jobs = self._crowd()
            case "quarantine":
                self.damage(self.chance.sample(self.warm, 2))
                jobs = [self.fetch(image) for image in self.warm for _ in range(2)]
            case "stop":
                jobs = [*self._mixture(), self._half()]
            case "send":
                jobs = [*self._mixture(), *(self._again(image) for image in self.warm)]
            case "publish":
                jobs = [*self._published(), *self._mixture()]
            case "pin":
                jobs = [self._pin(), *self._mixture()]
            case "forget":
                jobs = [*(self._delete() for _ in range(2)), *self._mixture()]
            case _:
                jobs = self._mixture()
        await asyncio.gather(*jobs)

    def _mixture(self) -> list[Coroutine[Any, Any, object]]:
        """New images of every kind, one that lies, and the warm ones."""
        first = self.add(self.fresh())
        shared = self.images[first.id][: 2 * CHUNK] + bytes(CHUNK) + self.fresh(2 * CHUNK + 77)
        second = self.add(shared, ranges="refused")
        liar = self.add(self.fresh(), lies=True)
        jobs: list[Coroutine[Any, Any, object]] = [
            self.fetch(image, span)
            for image in (first, second)
            for span in (None, None, self.span(image))
        ]
        return [
            *jobs,
            self.fetch(liar),
            *(self.fetch(image, self.span(image)) for image in self.warm),
        ]

    async def _again(self, image: OriginImage) -> None:
        """Read the same, until a worker must have it in its hands from the time before."""
        span = self.span(image)
        for _ in range(2 * WORKERS + 1):
            await self.fetch(image, span)

    async def _half(self) -> None:
        """Begin an image and leave; its fill stands still until the end."""
        image = self.add(self.fresh())
        hold = image.hold_at(3 * CHUNK)
        reader = self.ask(image.id)
        reached = asyncio.create_task(hold.reached.wait())
        await asyncio.wait([reached, reader.task], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        await reader.leave()
        assert self.images[image.id].startswith(reader.data)
        self.held.append(hold)

    def _published(self) -> list[Coroutine[Any, Any, object]]:
        """Images whose manifests are published: new ones, and one that shares chunks."""
        first = self.fresh()
        images = [self.add(data) for data in (first, first[: 3 * CHUNK] + self.fresh(), first)]
        for image in images:
            image.publish(CHUNK)
        return [self.fetch(i, span) for i in images for span in (None, self.span(i))]

    async def _pin(self) -> None:
        """Pin a warm image, and let go of another."""
        pinned, freed = self.chance.sample(self.warm, 2)
        for command, image in (("pin", pinned), ("unpin", freed)):
            self.pinned.pop(image.id, None)
            done = await self.commands.end(command, image.id)
            if done.code == 0:
                self.pinned[image.id] = command == "pin"

    async def _delete(self) -> None:
        """Fetch an image that shares chunks with a warm one, and delete it through the node."""
        image = self.add(self.images[self.warm[0].id][: 2 * CHUNK] + self.fresh())
        await self.fetch(image)
        del self.images[image.id]
        url = f"{self.node.url}/v2/images/{image.id}"
        with suppress(OSError, HTTPException):  # the worker may be the victim
            await asyncio.to_thread(ask, "DELETE", url)

    def _crowd(self) -> list[Coroutine[Any, Any, object]]:
        """More than there is room for, while a slow reader keeps what it reads."""
        images = [self.add(self.fresh(4 << 20)) for _ in range(3)]
        return [self._slowly(images[0]), *(self._twice(image) for image in images)]

    async def _twice(self, image: OriginImage) -> None:
        await self.fetch(image)
        await self.fetch(image, self.span(image))

    async def _slowly(self, image: OriginImage) -> None:
        """Leave an answer unread until others have had theirs."""
        slow = self.ask(image.id, paused=True)
        for _ in range(3):
            await self.fetch(self.add(self.fresh(2 << 20)))
        slow.go_on()
        await slow.ended()
        assert self.images[image.id].startswith(slow.data)
        if slow.ending != "whole" or slow.status != 200:
            self.lost.append(slow)

    # --- behind its back --------------------------------------------------------------------------

    def damage(self, images: list[OriginImage]) -> None:
        """Garble, cut or empty the first chunk of images, where it is a file."""
        for image in images:
            path = planted(self.cache, digest_of(self.images[image.id][:CHUNK]))
            if not path.exists():
                continue
            path.chmod(0o600)
            match self.chance.choice(("garble", "cut", "zero")):
                case "garble":
                    with path.open("r+b") as file:
                        file.seek(self.chance.randrange(CHUNK))
                        file.write(b"damage")
                case "cut":
                    os.truncate(path, self.chance.randrange(CHUNK))
                case _:
                    path.write_bytes(bytes(CHUNK))
            os.utime(path, ns=(1, 1))  # the kernel's clock may not have ticked since it was proven

    def prepare(self, group: Group) -> None:
        """Change the directory, while nobody uses it, so that a start has something to do."""
        if group == "start":
            for _ in range(3):
                data = self.fresh(CHUNK)
                planted(self.cache, digest_of(data)).write_bytes(data)
        elif group == "scrub":
            forget_scrub(self.cache / "index")
            self.damage(self.warm[:2])
        elif group == "migrate":
            downgrade(self.cache / "index")
        elif group == "rebuild":
            os.truncate(self.cache / "index/data.mdb", 2 * 4096)

    def lose_directories(self) -> None:
        """Remove the chunk directories that hold nothing warm, with what is in them."""
        kept = {
            digest_of(self.images[image.id][at : at + CHUNK]).hex()[:2]
            for image in self.warm
            for at in range(0, len(self.images[image.id]), CHUNK)
        }
        for directory in (self.cache / "chunks").iterdir():
            if directory.name not in kept:
                for path in directory.iterdir():
                    path.unlink()
                directory.rmdir()

    # --- looking through --------------------------------------------------------------------------

    async def look_through(self, *, warm_stays: bool = True) -> None:
        """Read everything, and check that nothing is wrong, lost or left behind."""
        self.lost.clear()
        await asyncio.to_thread(until, "the node to be idle", self._quiet)
        await self._rewarmed(warm_stays=warm_stays)
        latest = list(self.images)[-6:]
        for image_id in latest:
            image = self.glance.images[image_id]
            await asyncio.gather(self.fetch(image), self.fetch(image, self.span(image)))
        assert not self.lost, self.lost
        await self.settled()
        self._check_pins()
        if self.survey is not None:
            self.survey.check(self.limit_bytes)

    def _check_pins(self) -> None:
        """What the operator was promised still stands."""
        file = self.cache / PINS  # made with the first pin
        kept = unpack(file.read_bytes()).images if file.exists() else {}
        for image_id, pinned in self.pinned.items():
            assert (image_id in kept) == pinned, f"{image_id}: promised {pinned}, {kept}"

    async def settled(self) -> None:
        """Wait until nothing is in progress, and the ledger says what the disk has."""
        await asyncio.to_thread(until, "the node to be idle", self._quiet)
        await asyncio.to_thread(until, "the ledger to be right", self._exact)

    async def _rewarmed(self, *, warm_stays: bool) -> None:
        """Read the warm images until all of them come from the cache, which fetches nothing anew."""
        if not self.warm:
            return
        stored = await self.metric("chunks_stored_total")
        sent = -1
        while sent != self._sent():
            sent = self._sent()
            for image in self.warm:
                await self.fetch(image)
        if warm_stays:
            assert await self.metric("chunks_stored_total") == stored, "warm content was lost"

    def _sent(self) -> int:
        return sum(image.sent_bytes for image in self.warm)

    async def metric(self, name: str, **labels: str) -> float:
        """Return a figure of the node, without `cacheproxy_`."""
        return figure(await asyncio.to_thread(self.node.metrics), name, **labels)

    def _quiet(self) -> bool:
        samples = self.node.metrics()
        still = ("leases", "reserved_bytes", "flights")
        return (
            not any(figure(samples, name) for name in still)
            and figure(samples, "connections") == 1  # the one that asks for the metrics
            and not nameless_bytes(self.cache, self.processes())
            and not list((self.cache / "staging").iterdir())
        )

    def _exact(self) -> bool:
        return figure(self.node.metrics(), "cache_bytes") == allocated_by_us(self.cache)


@asynccontextmanager
async def scene(
    directory: Path, *, limit_bytes: int = ROOMY, seed: int = 0
) -> AsyncIterator[Scene]:
    """Give a scene with a warm cache, looked at by a survey; the program does not run."""
    steering = Steering.create(directory / "steering", all_names())
    try:
        async with origin() as glance:
            made = Scene(directory, glance, steering, limit_bytes, random.Random(seed))
            (directory / "cache").mkdir()
            with Survey(made.cache, made.processes) as made.survey:
                try:
                    yield made
                finally:
                    if made._stack is not None:
                        await made._stack.aclose()
            made.survey.check(limit_bytes)
            assert made.survey.looks
    finally:
        steering.close()
