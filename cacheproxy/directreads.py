"""Image data straight from the stores behind the upstream, for fills.

The upstream says where an image is (`locations.py`); the stores are those that the operator has
configured, and no others: a location names an object, never a server to talk to.  The bytes are
verified as those of any fill.

Rules

1.  Rather the stores that a reader prefers, in his order, then those of the highest weight, then as told.
2.  A store that fails or stalls is left alone for a while (`core/setback.py`), and so is the place
    in it, which may be all that fails.  Where an object is
    missing, refused, of another size or of wrong bytes, that location is, for `DOUBT_SECONDS`
    or `LIE_SECONDS`.
    Whoever read it goes on at the byte, with the next location or the upstream.
3.  No text of a location is logged but what `Location` shows of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from backends.base import ReadStore, ReadStream
from backends.configuration import StoreSettings
from backends.errors import (
    DeniedError,
    InvalidError,
    MissingError,
    StoreError,
    UnavailableError,
    UnsupportedError,
)
from backends.holding import closeness, is_of_kind, is_within
from backends.location import Location
from backends.spans import Span
from cacheproxy.admin.results import DirectStore
from cacheproxy.core.setback import Setback
from cacheproxy.errors import StoreFailedError
from cacheproxy.fill.source import Sink
from cacheproxy.headers import Headers
from cacheproxy.imagerecord import Place
from cacheproxy.meter import Meter
from cacheproxy.metrics import (
    DIRECT_BYTES,
    DIRECT_FAILING,
    DIRECT_FAILURES,
    DIRECT_FALLBACKS,
    DIRECT_READS,
)

DOUBT_SECONDS = 600.0  # that a location is not read of which nothing could be had
LIE_SECONDS = 21_600.0  # the same, of one that gave wrong bytes: finding out costs readers
PLACES_MAX = 1024
READS_MAX = 48  # of one store at once; a driver has a hundred connections, a read two at most
PLACE_SECONDS = 60.0  # for one of those; whoever has one gives it back after a range at the latest
LEAVE_SECONDS = 5.0  # for a store to let go of a read; it is left to itself then

log = logging.getLogger(__name__)


class Stores(Protocol):
    """The configured stores (`backends.openstores.OpenStores`)."""

    def named(self, name: str) -> ReadStore:
        """Return one of them."""


class Catalog(Protocol):
    """Tells where images are (`locations.Locations`)."""

    async def of(self, image_id: str, headers: Headers) -> tuple[Place, ...]:
        """Return the places, to a reader with these headers; UpstreamAnswerError: not to him."""

    def forget(self, image_id: str) -> None:
        """It is not there: ask anew."""


class DirectReads:
    """Finds and reads; used on one loop."""

    def __init__(  # noqa: PLR0913  all of them are collaborators
        self,
        catalog: Catalog,
        stores: Stores,
        readable: Sequence[StoreSettings],
        stall_seconds: float,
        meter: Meter,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stall_seconds = stall_seconds
        self.meter = meter
        self.clock = clock
        self.places = {each.name: asyncio.Semaphore(READS_MAX) for each in readable}
        self._catalog = catalog
        self._stores = stores
        self._readable = tuple(readable)
        self._setbacks = {each.name: Setback() for each in readable}
        self._troubled: OrderedDict[tuple[str, str], Setback] = OrderedDict()  # likewise, by place
        self._doubts: OrderedDict[tuple[str, str], float] = OrderedDict()  # until when, by place

    def __repr__(self) -> str:
        return f"<DirectReads of {', '.join(self._setbacks)}>"

    def states(self) -> list[DirectStore]:
        """Tell how the stores are, in the operator's order."""
        return [
            DirectStore(name=each.name, kind=each.kind, trouble=self._setbacks[each.name].trouble)
            for each in self._readable
        ]

    async def find(
        self, image_id: str, headers: Headers, prefer: Sequence[str]
    ) -> DirectRead | None:
        """Find where to read an image; None: through the upstream.

        `UpstreamAnswerError` if the upstream refuses it to the owner of these headers.
        """
        found: list[DirectRead] = []
        for place in await self._catalog.of(image_id, headers):
            settings = self._holding(place)
            if settings is not None:
                store = self._stores.named(settings.name)
                found.append(DirectRead(self, image_id, place.location, store, settings))
        found.sort(key=lambda each: _rank(each.settings, prefer))
        now = self.clock()
        for each in found:
            setbacks = self._setbacks_of(each)
            if all(setback.usable(now) for setback in setbacks) and not self._doubted(each):
                for setback in setbacks:
                    setback.tried(now)
                return each
        if found:
            self.meter.inc(DIRECT_FALLBACKS)
        return None

    def _holding(self, place: Place) -> StoreSettings | None:
        """Return which store has a place; None: none that is read here."""
        fitting = [
            each
            for each in self._readable
            if is_of_kind(each.options, place.location) and is_within(each.options, place.location)
        ]
        return max(
            fitting,
            key=lambda each: (each.name == place.store, closeness(each.options, place.location)),
            default=None,
        )

    def _setbacks_of(self, read: DirectRead) -> list[Setback]:
        """Return what is known of the store, and of this place in it if it has failed."""
        own = self._troubled.get(read.place)
        return [self._setbacks[read.settings.name], *([] if own is None else [own])]

    def _doubted(self, read: DirectRead) -> bool:
        until = self._doubts.get(read.place)
        if until is not None and self.clock() >= until:
            del self._doubts[read.place]
            return False
        return until is not None

    def doubt(self, read: DirectRead, seconds: float) -> bool:
        """Do not read this location for so long; the image may have moved.  Tell whether it is news."""
        news = not self._doubted(read)
        self._doubts[read.place] = self.clock() + seconds
        self._doubts.move_to_end(read.place)
        if len(self._doubts) > PLACES_MAX:
            self._doubts.popitem(last=False)
        self._catalog.forget(read.image_id)
        return news

    def failed(self, read: DirectRead, began: float, error: StoreError) -> None:
        """Note why a read, begun then, has failed."""
        name = read.settings.name
        self.meter.inc(DIRECT_FAILURES, 1, read.settings.kind)
        if isinstance(error, (MissingError, InvalidError, DeniedError, UnsupportedError)):
            log.warning("%s cannot be read from store %s: %s", read.image_id, name, error)
            self.doubt(read, DOUBT_SECONDS)
            return
        now = self.clock()
        # Of the place, too: where all others of the store are well, it would be tried ever again.
        self._troubled.setdefault(read.place, Setback()).failed(began, now, str(error))
        self._troubled.move_to_end(read.place)
        if len(self._troubled) > PLACES_MAX:
            self._troubled.popitem(last=False)
        if self._setbacks[name].failed(began, now, str(error)):
            log.warning("store %s fails, its images come from the upstream: %s", name, error)
            self._count_failing()

    def worked(self, read: DirectRead, began: float) -> None:
        """A read, begun then, has given all its bytes."""
        own = self._troubled.get(read.place)
        if own is not None and own.worked(began):
            del self._troubled[read.place]
        if self._setbacks[read.settings.name].worked(began):
            log.info("store %s is read again", read.settings.name)
            self._count_failing()

    def _count_failing(self) -> None:
        failing = [each for each in self._setbacks.values() if each.trouble is not None]
        self.meter.set(DIRECT_FAILING, len(failing))


def _rank(store: StoreSettings, prefer: Sequence[str]) -> tuple[int, int]:
    place = prefer.index(store.name) if store.name in prefer else len(prefer)
    return place, -store.weight


@dataclass(frozen=True, slots=True)
class DirectRead:
    """An image's object in a store, to be read."""

    reads: DirectReads
    image_id: str
    location: Location
    store: ReadStore
    settings: StoreSettings

    @property
    def place(self) -> tuple[str, str]:
        """The store's name, and where in it."""
        return self.settings.name, self.location.uri

    def doubt(self) -> None:
        """What came from there was wrong."""
        if self.reads.doubt(self, LIE_SECONDS):
            log.warning("store %s gave wrong bytes of %s", self.settings.name, self.image_id)

    @asynccontextmanager
    async def read(self, span: Span, size: int) -> AsyncIterator[DirectBody]:
        """Open a span; `StoreFailedError` if that fails, or if the object is not of that size."""
        reads, stack = self.reads, AsyncExitStack()
        await self._take_place()
        try:
            began = reads.clock()
            reads.meter.inc(DIRECT_READS, 1, self.settings.kind)
            with _noted(self, began):
                async with asyncio.timeout(reads.stall_seconds):
                    stream = await stack.enter_async_context(self.store.read(self.location, span))
                if stream.size not in (None, size):
                    raise InvalidError(f"{stream.size} bytes, where the image has {size}")
            yield DirectBody(self, stream, span, size, began)
        finally:
            try:
                await self._leave(stack)
            finally:
                reads.places[self.settings.name].release()

    async def _take_place(self) -> None:
        """Wait for one's turn: that is no fault of the store's."""
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await self.reads.places[self.settings.name].acquire()
        except TimeoutError:
            raise StoreFailedError(f"store {self.settings.name}: too many reads") from None

    async def _leave(self, stack: AsyncExitStack) -> None:
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await stack.aclose()
        except (StoreError, TimeoutError) as error:
            log.info("a read of store %s did not end well: %s", self.settings.name, error)


class DirectBody:
    """The bytes of a span on their way from a store."""

    ranged = bounded = True

    def __init__(
        self, read: DirectRead, stream: ReadStream, span: Span, size: int, began: float
    ) -> None:
        self.size = size
        self._read = read
        self._stream = stream
        self._left = len(span)
        self._began = began

    async def into(self, sink: Sink) -> bool:  # noqa: ARG002  of the port
        """Leave it to `pieces`: drivers give bytes."""
        return False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the bytes, exactly as many as the span has; `StoreFailedError` otherwise."""
        read, reads = self._read, self._read.reads
        pieces = aiter(self._stream)
        while True:
            with _noted(read, self._began):
                async with asyncio.timeout(reads.stall_seconds):
                    piece = await anext(pieces, b"")
                self._left -= len(piece)
                if self._left < 0 or (self._left and not piece):
                    raise InvalidError(f"{-self._left:+} bytes, of those that were asked for")
            if not piece:
                break
            reads.meter.inc(DIRECT_BYTES, len(piece), read.settings.kind)
            yield piece
        reads.worked(read, self._began)


@contextmanager
def _noted(read: DirectRead, began: float) -> Iterator[None]:
    """Note what a store raises, and translate it."""
    try:
        yield
    except (StoreError, TimeoutError) as error:
        silent = f"nothing came for {read.reads.stall_seconds:g} s"
        failure = error if isinstance(error, StoreError) else UnavailableError(silent)
        read.reads.failed(read, began, failure)
        raise StoreFailedError(f"store {read.settings.name}: {failure}") from None
