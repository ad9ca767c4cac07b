"""The keeper: the one process that owns the cache directory, and serves every worker's link.

A link that breaks gives back whatever its worker held: readers end, descriptors count as closed.
Fills do not notice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine
from functools import partial

from backends.spans import Span
from cacheproxy import cacheorders
from cacheproxy.config import CacheSettings
from cacheproxy.core.health import Fault
from cacheproxy.errors import (
    CacheRefusedError,
    ConfigError,
    DistrustedError,
    NeverFitsError,
    ProofFailedError,
    ProxyError,
    StorageError,
)
from cacheproxy.fill.delivery import DISK_SECONDS_MAX, Delivery
from cacheproxy.fill.demand import Credential
from cacheproxy.fill.flights import Flights
from cacheproxy.fill.gone import GoneImages
from cacheproxy.processes import messages, orders
from cacheproxy.processes.channel import Channel, ChannelFullError
from cacheproxy.processes.orders import Reload
from cacheproxy.processes.parcels import Parcels
from cacheproxy.steward import Steward
from cacheproxy.store.chunkstore import ChunkStore, OpenChunk

log = logging.getLogger(__name__)


class Keeper:
    """Serves links; made on the keeper's loop."""

    def __init__(
        self, store: ChunkStore, flights: Flights, gone: GoneImages, settings: CacheSettings
    ) -> None:
        self.store = store
        self.flights = flights
        self.gone = gone
        self.settings = settings
        self.steward: Steward | None = None  # obeys administrators, as soon as there is one
        self._links: set[WorkerLink] = set()
        self._usable = store.disk.usable
        store.disk.listen(self._disk_changed)
        self._beating: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Keeper {len(self._links)} links, {self.flights!r}>"

    def start(self) -> None:
        """Begin to tell the workers that the loop turns."""
        for link in tuple(self._links):
            link.send(messages.Alive())
        loop = asyncio.get_running_loop()
        self._beating = loop.call_later(messages.ALIVE_SECONDS, self.start)

    def connect(self, sock: socket.socket, worker: orders.WorkerLink | None) -> None:
        """Serve a worker's new link."""
        link = WorkerLink(self, sock, worker)
        self._links.add(link)
        if not self._usable:
            link.send(messages.Disk(self._usable))

    def _disk_changed(self) -> None:
        """Go round the disk, or use it again; those who read end at once, or they would wait for it."""
        if self._usable == self.store.disk.usable:
            return
        self._usable = not self._usable
        for link in tuple(self._links):
            link.send(messages.Disk(self._usable))
            if not self._usable:
                link.break_off()
        if not self._usable:
            self.flights.break_off(StorageError("the cache's disk is not used any more"))

    def cut(self) -> None:
        """End every link at once and leave the rest to the end of the process."""
        if self._beating is not None:
            self._beating.cancel()
        for link in tuple(self._links):
            link.close()

    def workers(self) -> list[orders.WorkerLink]:
        """Return the workers whose links stand, by number."""
        linked = [link.worker for link in self._links if link.worker is not None]
        return sorted(linked, key=lambda worker: worker.worker)

    def disconnected(self, link: WorkerLink) -> None:
        """A worker is gone."""
        self._links.discard(link)
        self.store.forget_holder(link)

    def reload(self, order: Reload) -> bool:
        """Take what the configuration says now; False, and logged, if it cannot be."""
        try:
            self.store.allowance.relimit(order.limit_bytes)
        except ConfigError as error:
            log.error("nothing is changed: %s", error)  # noqa: TRY400  (the message says what to do)
            return False
        self.store.shares.percent = order.project_share
        return True

    async def close(self) -> None:
        """End every link and fill; the store is left to its owner."""
        if self._beating is not None:
            self._beating.cancel()
        links = tuple(self._links)
        for link in links:
            link.close()
        for link in links:
            await link.ended()
        await self.flights.close()


class WorkerLink:
    """The keeper's end of the link to one worker; it is also what holds the descriptors sent."""

    def __init__(
        self, keeper: Keeper, sock: socket.socket, worker: orders.WorkerLink | None
    ) -> None:
        self.worker = worker  # None: nobody told who it is
        self._keeper = keeper
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._deliveries: dict[int, Delivery] = {}
        self._grants: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._parcels = Parcels(self._hold, self._say)
        self._channel = Channel(sock, self._received, self._lost)
        self._channel.start()

    def __repr__(self) -> str:
        return f"<WorkerLink {len(self._readers)} readers>"

    def send(self, message: messages.FromKeeper) -> None:
        """Say something, behind the chunks that are on their way."""
        self._parcels.flush()
        self._say(message)

    def _hold(self, digest: bytes) -> None:
        self._keeper.store.hold(digest, self)

    def _say(self, message: messages.FromKeeper, fds: tuple[int, ...] = ()) -> None:
        """Send a message; a worker that reads nothing is cut off."""
        try:
            self._channel.send(messages.encode(message), fds)
        except (ChannelFullError, OSError):  # or there are no descriptors left to keep for it
            log.warning("a worker does not read its link; it is cut off")
            self._channel.close()

    def close(self) -> None:
        """End the link."""
        self._channel.close()

    def break_off(self) -> None:
        """End all that reads for this worker, which does not wait for it any more."""
        for task in tuple(self._tasks):
            task.cancel()

    async def ended(self) -> None:
        """Wait until nothing of it runs any more."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(tuple(self._tasks))

    def _lost(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._keeper.disconnected(self)

    def _received(self, data: bytes, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        message = messages.decode_from_worker(data)
        try:
            self._obey(message)
        except StorageError as error:  # of the index, which is read at once
            log.info("a worker's question has no answer: %s", error)
            if isinstance(message, messages.Describe):
                self.send(messages.Described(message.request, None, proven=False))

    def _obey(self, message: messages.FromWorker) -> None:  # noqa: PLR0912  one case per message
        store = self._keeper.store
        match message:
            case messages.Describe():
                store.disk.check_usable()
                facts = self._keeper.flights.contents.describe(message.image_id)
                self.send(messages.Described(message.request, facts, facts is not None))
            case messages.Adopt():
                _ = self._spawn(self._adopt(message))
            case messages.Open():
                self._grants[message.reader] = 0
                task = self._readers[message.reader] = self._spawn(self._read(message))
                task.add_done_callback(partial(self._ended, message.reader))
            case messages.Grant() if message.reader in self._readers:
                self._grants[message.reader] = message.stop
                if (delivery := self._deliveries.get(message.reader)) is not None:
                    delivery.grant(message.stop, message.first)
            case messages.Close() if message.reader in self._readers:
                self._readers[message.reader].cancel()
            case messages.Return():
                store.release(message.digest, self, message.count)
            case messages.Hold():
                for digest in message.digests:
                    store.hold(digest, self)
                    if not (store.disk.usable and store.has(digest)):
                        self.send(messages.Dying(digest))
            case messages.Touch():
                store.touch(message.digests)
            case messages.Doubt():
                _ = self._spawn(self._settle(message))
            case messages.Hung():
                store.disk.failed(Fault.HUNG, "a worker waits for a chunk")
            case messages.Gone():
                self._keeper.gone.tell([message.image_id])
            case messages.Used() if self._keeper.steward is not None:
                self._keeper.steward.hits.add(message.counts)
            case messages.Manage():
                _ = self._spawn(self._manage(message))
            case _:
                pass  # about a reader that has ended

    def _ended(self, reader: int, _: asyncio.Task[None]) -> None:
        """A reader has ended, perhaps before its task began."""
        self._readers.pop(reader, None)
        self._grants.pop(reader, None)
        self._deliveries.pop(reader, None)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _adopt(self, message: messages.Adopt) -> None:
        proven = False
        try:
            self._keeper.store.disk.check_usable()
            proven = await self._keeper.flights.adopt(
                message.facts, Credential(message.facts.image_id, tuple(message.headers))
            )
        except StorageError as error:
            log.warning("a manifest of %s is not kept: %s", message.facts.image_id, error)
        except Exception:
            log.exception("taking over a manifest of %s broke", message.facts.image_id)
        finally:
            self.send(messages.Described(message.request, message.facts, proven))

    async def _settle(self, message: messages.Doubt) -> None:
        try:
            async with asyncio.timeout(DISK_SECONDS_MAX):
                await self._keeper.store.prove(message.digest, message.size)
        except (StorageError, TimeoutError) as error:
            log.info("a chunk cannot be read again: %s", error)
        except Exception:
            log.exception("reading a chunk again broke")
        finally:
            self.send(messages.Settled(message.request))

    async def _manage(self, message: messages.Manage) -> None:
        number, steward = message.request, self._keeper.steward
        reply: cacheorders.Ending = cacheorders.Failed()
        try:
            if steward is not None:
                reply = await steward.obey(
                    message.order, lambda rows: self.send(messages.Managed(number, rows))
                )
        except Exception:
            log.exception("%s broke", type(message.order).__name__)
        finally:
            self.send(messages.Managed(number, reply))

    async def _read(self, message: messages.Open) -> None:
        """One reader's life."""
        number = message.reader
        try:
            await self._deliver(message)
        except CacheRefusedError as error:
            self.send(messages.Refused(number, _refusal(error)))
        except ProofFailedError:
            self.send(messages.Failed(number, "proof"))
        except StorageError as error:  # of the disk the log tells when its state changes
            log.debug("reading %s failed: %s", message.facts.image_id, error)
            self.send(messages.Failed(number, "storage"))
        except ProxyError as error:
            log.info("reading %s failed: %s", message.facts.image_id, error)
            self.send(messages.Failed(number, "source"))
        except Exception:
            # The worker waits for a word, and can go round the cache.
            log.exception("reading %s broke", message.facts.image_id)
            self.send(messages.Failed(number, "storage"))

    async def _deliver(self, message: messages.Open) -> None:
        keeper = self._keeper
        keeper.store.disk.check_usable()
        credential = Credential(
            message.facts.image_id, tuple(message.headers), prefer=tuple(message.prefer)
        )
        content = await keeper.flights.admit(message.facts, credential)

        def deliver(index: int, digest: bytes, opened: OpenChunk, fetched: bool) -> None:
            keeper.store.touch([digest])
            recipient = messages.Recipient(message.reader, index, fetched)
            self._parcels.add(recipient, digest, opened, len(content.grid.chunk(index)))

        def join(index: int, digest: bytes, fetched: bool) -> bool:
            return self._parcels.join(messages.Recipient(message.reader, index, fetched), digest)

        delivery = Delivery(
            keeper.flights,
            keeper.store,
            keeper.settings,
            facts=message.facts,
            content=content,
            span=Span(message.start, message.stop),
            credential=credential,
            deliver=deliver,
            join=join,
        )
        self._deliveries[message.reader] = delivery
        delivery.grant(self._grants[message.reader])
        self.send(messages.Opened(message.reader, content.proven, content.grid.chunk_bytes))
        await delivery.run()


def dying(digest: bytes, holder: object) -> None:
    """Ask a worker that has an evicted chunk open to close it."""
    assert isinstance(holder, WorkerLink)
    holder.send(messages.Dying(digest))


def _refusal(error: CacheRefusedError) -> messages.RefusalKind:
    match error:
        case NeverFitsError():
            return "never-fits"
        case DistrustedError():
            return "distrusted"
        case _:
            return "no-room"
