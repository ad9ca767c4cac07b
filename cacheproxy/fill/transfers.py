"""The upstream reads of one fill: each leg with somebody's right, into the store, from the byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from backends.spans import Span
from cacheproxy.errors import (
    StoreFailedError,
    UpstreamAnswerError,
    UpstreamError,
    UpstreamLiesError,
)
from cacheproxy.fill.assembly import Assembly
from cacheproxy.fill.content import Content
from cacheproxy.fill.demand import Credential
from cacheproxy.fill.landings import Landings
from cacheproxy.fill.leg import Leg
from cacheproxy.fill.ports import FillPorts
from cacheproxy.fill.rights import Rights
from cacheproxy.fill.source import Body, Shortcut
from cacheproxy.fill.stowage import Stowage
from cacheproxy.fill.wanted import Wanted
from cacheproxy.store.chunkstore import Reservation

REFUSALS = (401, 403, 404)  # the upstream's word about one reader's right


class Transfers:
    """Reads legs; `on_head` is called when an answer has shown what the source can do."""

    def __init__(  # noqa: PLR0913, PLR0917  all of them are collaborators
        self,
        content: Content,
        ports: FillPorts,
        wanted: Wanted,
        rights: Rights,
        stowage: Stowage,
        on_head: Callable[[], None],
        prefer: Sequence[str],
    ) -> None:
        self._content = content
        self._ports = ports
        self._wanted = wanted
        self._rights = rights
        self._stowage = stowage
        self._on_head = on_head
        self._prefer = prefer
        self._torn: dict[int, bytes] = {}  # beginnings of chunks, by index
        self._used: list[Shortcut] = []  # stores that what came was read from
        self._share = ports.buffers.share(ports.settings.fill_memory_bytes)

    def __repr__(self) -> str:
        return f"<Transfers of {self._content.key}, {len(self._torn)} torn>"

    def clear(self, *, doubtful: bool) -> None:
        """The fill has ended; `doubtful`: what came is wrong, and nobody knows what of it."""
        for shortcut in self._used if doubtful else ():
            shortcut.doubt()
        self._torn.clear()
        self._used.clear()
        self._share.close()

    async def fly(self, leg: Leg) -> None:
        """Bring a leg in; raises what stopped it.

        Where the source has ranges, the beginning of a chunk that was cut is kept for the next leg
        that begins with it.
        """
        credential = leg.credential = await self._rights.choose(self._wanted.demands)
        try:
            leg.shortcut = await self._ports.shortcuts.find(
                credential.image_id, credential.headers, self._prefer
            )
            await self._read(leg, credential)
        except UpstreamAnswerError as error:
            if error.status in REFUSALS:
                self._rights.refuse(credential, error)
            raise
        except UpstreamLiesError as error:
            if leg.shortcut is not None:
                leg.shortcut.doubt()
                raise StoreFailedError(f"a store that is read directly: {error}") from error
            self._rights.suspect(credential.image_id)
            raise
        except UpstreamError:
            if leg.torn is not None and leg.ranged:
                index, torn = leg.torn
                self._torn[index] = torn
            raise
        finally:
            if leg.wrong and leg.shortcut is None:
                self._rights.suspect(credential.image_id)

    def _reading(
        self, leg: Leg, credential: Credential, span: Span | None
    ) -> AbstractAsyncContextManager[Body]:
        if leg.shortcut is None or span is None:
            return self._ports.source.read(credential.image_id, credential.headers, span)
        if leg.shortcut not in self._used:
            self._used.append(leg.shortcut)
        return leg.shortcut.read(span, self._content.grid.size)

    async def _read(self, leg: Leg, credential: Credential) -> None:
        content, grid = self._content, self._content.grid
        leg.ranged = leg.shortcut is not None or content.ranged_upstream is not False
        if not leg.ranged:
            self._wanted.widen(leg)
        torn = self._torn.get(leg.first, b"") if leg.ranged else b""
        span = leg.span(grid, torn) if leg.ranged else None
        reading = self._reading(leg, credential, span)
        reservation, borrowed = await self._stowage.room_for(leg)
        try:
            async with reading as body:
                if body.size is not None and body.size != grid.size:
                    raise UpstreamLiesError(f"size {body.size}, expected {grid.size}")
                content.ranged = body.ranged
                if leg.shortcut is None:
                    content.ranged_upstream = body.ranged
                if leg.ranged and not body.ranged:
                    leg.ranged, torn = False, b""
                    self._wanted.widen(leg)
                    if not borrowed:
                        reservation.close()
                        reservation, borrowed = await self._stowage.room_for(leg)
                self._torn.pop(leg.first, None)
                self._rights.accept(credential)
                leg.streaming = True
                self._on_head()
                await self._receive(leg, body, torn, reservation)
        finally:
            if not borrowed:
                reservation.close()

    async def _receive(self, leg: Leg, body: Body, torn: bytes, reservation: Reservation) -> None:
        """Take a body in and have its chunks stored, those that came before it failed too."""
        async with Landings() as landings:

            def land(index: int, chunk: memoryview, on_end: Callable[[], None]) -> None:
                landings.add(self._stowage.land(leg, index, chunk, reservation), on_end)

            assembly = Assembly(
                range(leg.first, leg.stop),
                self._content.grid,
                torn,
                self._share,
                land,
                landings.check,
            )
            try:
                await assembly.receive(body)
            finally:
                leg.torn = assembly.close()
