"""The worker's end of the one link to the keeper.

No wait on it is without a bound: the keeper says every second that it lives, and when it did not
for `keeper_wait_seconds`, or the link broke, every wait ends with a `KeeperError` and the worker
goes on without it.  A new link takes the place of a broken one as soon as the supervisor has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from backends.spans import Span
from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import (
    CacheRefusedError,
    DistrustedError,
    FillFailedError,
    KeeperError,
    NeverFitsError,
    NoRoomError,
    ProofFailedError,
    ProxyError,
    StorageError,
)
from cacheproxy.fill.source import Headers
from cacheproxy.hotset import HotSet
from cacheproxy.meter import Meter
from cacheproxy.processes import messages
from cacheproxy.processes.channel import Channel, ChannelFullError
from cacheproxy.processes.lifesigns import LifeSigns
from cacheproxy.processes.linkreader import LinkReader
from cacheproxy.processes.stewardlink import StewardLink

TOUCHES_MAX = 512  # chunk uses reported in one message
# With CHUNKS_AHEAD_MAX below what a channel queues for a worker whose loop is busy (descriptors:
# 1,024): every reader may await one chunk, and those who came early some more.
READERS_MAX = 512

T = TypeVar("T")

_REFUSALS: Final[dict[messages.RefusalKind, type[CacheRefusedError]]] = {
    "no-room": NoRoomError,
    "never-fits": NeverFitsError,
    "distrusted": DistrustedError,
}
_FAILURES: Final[dict[messages.FailureKind, type[ProxyError]]] = {
    "source": FillFailedError,
    "storage": StorageError,
    "proof": ProofFailedError,
}


class KeeperLink:
    """Asks the keeper, keeps what it sends in the hot set, and obeys when chunks die."""

    def __init__(self, settings: CacheSettings, meter: Meter) -> None:
        self._settings = settings
        self.hot = HotSet(settings.hot_files_max, meter, on_closed=self._file_closed)
        self.on_lost: Callable[[], None] = lambda: None
        self.on_unusable: Callable[[], None] = lambda: None  # the disk is not to be used now
        self._channel: Channel | None = None
        self._numbers = itertools.count(1)
        self._readers: dict[int, tuple[LinkReader, ImageFacts]] = {}
        self._described: dict[int, asyncio.Future[messages.Described]] = {}
        self._doubted: dict[int, asyncio.Future[messages.Settled]] = {}
        self.steward = StewardLink(self)
        self.outstanding = 0  # chunks granted that have not arrived
        self._signs = LifeSigns(settings.keeper_wait_seconds)
        self._usable = True  # whether the keeper uses the cache's disk
        self._touched: dict[bytes, None] = {}

    def __repr__(self) -> str:
        state = "away" if self._channel is None else "linked"
        return f"<KeeperLink {state}, {len(self._readers)} readers, {self.hot!r}>"

    # --- the link's life --------------------------------------------------------------------------

    def connect(self, sock: socket.socket) -> None:
        """Use a new link; whatever the old one promised is void."""
        self._drop("the keeper was restarted")
        self._channel = Channel(sock, self._received, self._lost)
        self._signs.heard()
        self._usable = True
        self._channel.start()
        held = self.hot.held()
        for start in range(0, len(held), TOUCHES_MAX):
            self._send(messages.Hold(held[start : start + TOUCHES_MAX]))

    def disconnect(self) -> None:
        """End it for good."""
        self._drop("the worker stops")
        self.hot.clear()

    def _lost(self) -> None:
        if self._channel is not None and self._channel.closed:
            self._drop("the keeper is away")
            self.on_lost()

    def _drop(self, why: str) -> None:
        """Wake everybody who waits; open files stay usable."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._wake_all(why)

    def _wake_all(self, why: str) -> None:
        for reader, _ in list(self._readers.values()):
            reader.failed(KeeperError(why))
        for described in self._described.values():
            _give_up(described, why)
        for doubted in self._doubted.values():
            _give_up(doubted, why)
        self.steward.give_up(why)
        self._signs.give_up(why)

    def ask(self, message: messages.FromWorker) -> None:
        """Say something that needs the disk."""
        if not self._usable:
            raise KeeperError("the cache's disk is not used at present")
        self._send(message)

    def _send(self, message: messages.FromWorker) -> None:
        if self._channel is None:
            raise KeeperError("the keeper is away")
        try:
            self._channel.send(messages.encode(message))
        except ChannelFullError as error:
            self._drop("the keeper does not read")
            asyncio.get_running_loop().call_soon(self.on_lost)  # another link is welcome
            raise KeeperError("the keeper does not read") from error
        except ValueError as error:
            raise KeeperError("the request is too long for the keeper") from error

    async def alive(self, answer: asyncio.Future[T]) -> T:
        """Wait for something from the keeper for as long as it gives signs of life."""
        if self._channel is None and not answer.done():
            raise KeeperError("the keeper is away")
        return await self._signs.wait(answer)

    # --- questions --------------------------------------------------------------------------------

    async def describe(self, image_id: str) -> messages.Described:
        """Ask what is known of an image."""
        number = next(self._numbers)
        return await self._description(messages.Describe(number, image_id))

    async def adopt(self, facts: ImageFacts, headers: Headers) -> messages.Described:
        """Have an image proven by its published manifest, if it can be."""
        number = next(self._numbers)
        return await self._description(messages.Adopt(number, facts, list(headers)))

    async def _description(
        self, question: messages.Describe | messages.Adopt
    ) -> messages.Described:
        answer: asyncio.Future[messages.Described] = asyncio.get_running_loop().create_future()
        self._described[question.request] = answer
        try:
            self.ask(question)
            return await self.alive(answer)
        finally:
            del self._described[question.request]

    async def doubt(self, digest: bytes, size: int) -> None:
        """Have a chunk read and hashed again, and set aside if it is damaged."""
        number = next(self._numbers)
        answer: asyncio.Future[messages.Settled] = asyncio.get_running_loop().create_future()
        self._doubted[number] = answer
        try:
            self.ask(messages.Doubt(number, digest, size))
            _ = await self.alive(answer)
        finally:
            del self._doubted[number]

    def hung(self) -> None:
        """Tell that the disk has not given a chunk in time."""
        self.tell(messages.Hung())

    def read(
        self, facts: ImageFacts, span: Span, headers: Headers, prefer: Sequence[str] = ()
    ) -> LinkReader:
        """Begin a reader; `close` it in any case."""
        if len(self._readers) >= READERS_MAX:
            raise KeeperError("too many readers at once")
        number = next(self._numbers)
        reader = LinkReader(self, number, span, self._settings.window_chunks)
        self._readers[number] = (reader, facts)
        try:
            start, stop = span.start, span.stop
            self.ask(messages.Open(number, facts, start, stop, list(headers), list(prefer)))
        except BaseException:
            del self._readers[number]
            raise
        return reader

    def grant(self, number: int, stop: int, first: int) -> None:
        """A reader takes the chunks `first <= index < stop`."""
        self._send(messages.Grant(number, stop, first))

    def closed(self, number: int) -> None:
        """A reader is gone."""
        del self._readers[number]
        self.tell(messages.Close(number))

    def touch(self, digest: bytes) -> None:
        """A chunk was used without asking; said in batches."""
        self._touched[digest] = None
        if len(self._touched) >= TOUCHES_MAX:
            self.flush_touches()

    def gone(self, image_id: str) -> None:
        """An image was deleted upstream."""
        self.tell(messages.Gone(image_id))

    def flush_touches(self) -> None:
        """Say what was used since the last time."""
        self.steward.flush()
        if self._touched:
            self.tell(messages.Touch(list(self._touched)))
            self._touched.clear()

    def tell(self, message: messages.FromWorker) -> None:
        """Say something that a keeper who is away need not know."""
        with contextlib.suppress(KeeperError):
            self._send(message)

    def _file_closed(self, digest: bytes) -> None:
        self.tell(messages.Return(digest, 1))

    # --- answers ----------------------------------------------------------------------------------

    def _received(self, data: bytes, fds: list[int]) -> None:
        self._signs.heard()
        message = messages.decode_from_keeper(data)
        match message:
            case messages.Chunk():
                self._chunk(message, fds.pop())
            case messages.Opened() if message.reader in self._readers:
                reader, facts = self._readers[message.reader]
                reader.opened(message, facts.size)
            case messages.Refused() if message.reader in self._readers:
                error = _REFUSALS[message.kind]("the cache refuses this image now")
                self._readers[message.reader][0].failed(error)
            case messages.Failed() if message.reader in self._readers:
                failure = _FAILURES[message.kind]("the keeper could not bring the data")
                self._readers[message.reader][0].failed(failure)
            case messages.Described():
                _answer(self._described.get(message.request), message)
            case messages.Settled():
                _answer(self._doubted.get(message.request), message)
            case messages.Managed():
                self.steward.take(message)
            case messages.Dying():
                self.hot.expel(message.digest)
            case messages.Disk():
                self._use(message.usable)
            case _:
                pass  # a sign of life, or for a reader that is gone
        for fd in fds:
            os.close(fd)

    def _use(self, usable: bool) -> None:
        """Use the cache's disk, or go round it from now on: whoever waits, at once."""
        self._usable = usable
        if not usable:
            self.hot.clear()
            self.on_unusable()
            self._wake_all("the cache's disk is not used at present")

    def _chunk(self, message: messages.Chunk, fd: int) -> None:
        file = self.hot.add(message.digest, fd, message.size, message.identity, message.proven_at)
        for recipient in message.recipients:
            entry = self._readers.get(recipient.reader)
            leased = None if entry is None else self.hot.lease(message.digest)
            if entry is not None and leased is not None:
                entry[0].arrived(recipient, leased)
        self.hot.release(file)


def _answer(question: asyncio.Future[T] | None, answer: T) -> None:
    if question is not None and not question.done():
        question.set_result(answer)


def _give_up(question: asyncio.Future[T], why: str) -> None:
    if not question.done():
        question.set_exception(KeeperError(why))
