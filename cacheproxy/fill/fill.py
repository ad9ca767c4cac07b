"""A fill: brings the absent chunks of one content in, whoever asked for them.

Rules

* A fill belongs to the keeper, not to a reader: readers join it with a demand, leave it, and it
  goes on; it ends by itself when nobody wants more of it, or with the proof of the whole.
* Decisions are plain functions that look at the state and start or stop legs; no `await` stands
  between the look and the deed.  `_turn` is the only one that decides.
* A chunk is on its way exactly while some leg *expects* it; what landed and was evicted again
  is absent again, so a waiter is never forgotten: it wakes when its chunk lands and when the fill
  ends, and looks again.
* While a manifest is learnt, every chunk of it is protected from eviction until the whole was
  hashed, and room for the whole is reserved before the first byte is asked for.
* A source is asked for ranges until it shows that it has none (400, or 200 instead of 206); then
  it is read once from byte 0, and readers are released as their chunks land.
* Failure of the source ends the fill and keeps what was learnt; bytes that contradict their hash,
  their length or themselves discard all of it.
* Bytes that contradict a proven manifest touch nothing: the chunk is refused and asked for again,
  rather as a reader of another image of equal content.  Who waits for a chunk that no source has
  right fails with the proof, and is not sent round the cache: the upstream would give him the
  same wrong bytes, of which we know that they are wrong.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import (
    CacheRefusedError,
    FillFailedError,
    ProofFailedError,
    ProxyError,
    StorageError,
    UpstreamAnswerError,
    UpstreamError,
    UpstreamLiesError,
)
from cacheproxy.fill.content import Content
from cacheproxy.fill.demand import Credential, Credentials, Demand
from cacheproxy.fill.landings import Landings
from cacheproxy.fill.leg import Leg, Torn
from cacheproxy.fill.ports import FillPorts
from cacheproxy.fill.prover import prove
from cacheproxy.fill.stowage import Stowage
from cacheproxy.fill.waiters import Waiters
from cacheproxy.fill.wanted import Wanted

log = logging.getLogger(__name__)

FIRST_LEG_BYTES = 32 << 20  # the first range of a run; doubled while a run goes on
ATTEMPTS_MAX = 5  # failures of the source in a row, without a chunk landing between them
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 2.0
REFUSALS = (401, 403, 404)  # the upstream's word about one reader's right


class Fill:
    """The fill of one content; `run` is its life."""

    def __init__(
        self,
        facts: ImageFacts,
        content: Content,
        ports: FillPorts,
        on_proven: Callable[[ImageFacts, Content], None],
    ) -> None:
        self.facts = facts
        self.content = content
        self.failure: ProxyError | None = None
        self.began = time.monotonic()
        self._learning = not content.proven
        self._arrived_before = content.arrived_bytes
        self._ports = ports
        self._on_proven = on_proven
        self._wanted = Wanted(content, ports.inflight, self._came_elsewhere)
        self._credentials = Credentials()
        self._legs: dict[asyncio.Task[None], Leg] = {}
        self._torn: dict[int, Torn] = {}
        self._leg_bytes = min(FIRST_LEG_BYTES, ports.settings.fill_read_bytes_max)
        self._attempts = 0
        self._paused = False
        self._wake = asyncio.Event()
        self._waiters = Waiters()
        self._begun = content.proven
        self._ended = False
        self.stowage = Stowage(facts, content, ports, self._wanted, self._came)

    def __repr__(self) -> str:
        state = "ended" if self._ended else f"{len(self._legs)} legs, {self._wanted!r}"
        return f"<Fill {self.content.key}: {state}>"

    # --- for whoever looks on --------------------------------------------------------------------

    @property
    def whole(self) -> bool:
        """Whether all of the image is to come, not only what readers want of a proven one."""
        return self._learning and self._completing()

    @property
    def readers(self) -> int:
        """How many wait for chunks of it."""
        return len(self._wanted.demands)

    @property
    def there_bytes(self) -> int:
        """Return what is there of the image; of a proven content only what this fill brought."""
        if self._learning:
            grid = self.content.grid
            return min(self._wanted.there * grid.chunk_bytes, grid.size)
        return self.content.arrived_bytes - self._arrived_before

    # --- for readers ----------------------------------------------------------------------------

    @property
    def joinable(self) -> bool:
        """Whether a new reader may join, or has to wait for its end and start afresh."""
        over = self._learning and self.content.proven
        return not (self._ended or over) and self.failure is None

    def demand(self, indexes: range, credential: Credential, *, must_prove: bool) -> Demand:
        """Join: ask for chunks with one's own credentials; `leave` when done."""
        demand = Demand(indexes.start, indexes.stop, must_prove, credential)
        self._wanted.demands.append(demand)
        self._credentials.add(credential)
        self._wake.set()
        return demand

    def leave(self, demand: Demand) -> None:
        """The reader is served or gone; its credentials stay until the fill ends."""
        self._wanted.demands.remove(demand)
        self._wake.set()

    def expects(self, index: int) -> bool:
        """Whether the chunk is on its way."""
        return any(leg.expects(index) for leg in self._legs.values())

    async def begun(self) -> None:
        """Wait until there is room for what will come; raises what the fill failed with."""
        while not self._begun and not self._ended:
            await self._news(None)
        self._check()

    async def landed(self, index: int) -> None:
        """Wait until a chunk has landed, or the fill ended; raises what it failed with.

        Whoever waits looks whether it is there before and after, without an `await` between.
        """
        self._check(index)
        self._wanted.missed(index)
        self._wake.set()
        await self._news(index)
        self._check(index)

    async def proven(self) -> None:
        """Wait for the proof of the whole; raises what the fill failed with."""
        while not self.content.proven:
            self._check()
            if self._ended:
                raise FillFailedError("the fill ended before its proof")
            await self._news(None)

    async def _news(self, about: int | None) -> None:
        if not self._ended:
            await self._waiters.wait(about)

    def look_again(self) -> None:
        """A chunk that was there was found damaged or gone: what is there has to be asked anew."""
        self._wanted.look_again()
        self._wake.set()

    @property
    def mismatched(self) -> bool:
        """Whether bytes came that cannot be right, and no others instead."""
        return isinstance(self.failure, ProofFailedError) or self._wanted.gave_up

    def break_off(self, error: ProxyError) -> None:
        """End it with this error, unless it failed already."""
        self._fail(error)

    def _check(self, index: int | None = None) -> None:
        if index is not None and self._wanted.came_wrong(index, at_all=self.failure is not None):
            raise ProofFailedError(f"chunk {index} came wrong each time")
        if self.failure is not None:
            raise self.failure

    def _came(self, index: int) -> None:
        """A chunk has landed, or was refused."""
        self._waiters.wake(index)
        if not self.content.present(index):
            self._wake.set()

    def _came_elsewhere(self) -> None:
        self._waiters.wake_all()
        self._wake.set()

    # --- life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fill until nobody wants more; the outcome is in `failure` and in the content."""
        proving: asyncio.Task[None] | None = None
        try:
            if self._learning:
                await self.stowage.begin_learning()
                self._begun = True
                self._waiters.wake(None)
                proving = asyncio.create_task(self._prove(), name=f"prove {self.content.key}")
            while self._turn():
                self._wake.clear()
                await self._wake.wait()
        except ProxyError as error:
            self._fail(error)
        except Exception as error:
            log.exception("fill of %s broke", self.content.key)
            self._fail(FillFailedError(f"unexpected {type(error).__name__}"))
        finally:
            self._ended = True
            await self._end([*self._legs, *([proving] if proving else [])])

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Stop what still runs and give everything back."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for leg in self._legs.values():
            self._release(leg)
        self._legs.clear()
        self._torn.clear()
        self._credentials.clear()
        try:
            await self.stowage.close(discard=isinstance(self.failure, ProofFailedError))
        finally:
            self._waiters.wake_all()

    def _fail(self, error: ProxyError) -> None:
        if self.failure is None:
            if isinstance(error, UpstreamLiesError):
                error = ProofFailedError(str(error))
            elif isinstance(error, UpstreamError):
                error = FillFailedError(str(error))
            self.failure = error
            # What the disk is up to is told once, not by each fill.
            disk = isinstance(error, (StorageError, CacheRefusedError))
            level = logging.DEBUG if disk else logging.WARNING
            log.log(level, "fill of %s failed: %s", self.content.key, error)
        self._waiters.wake_all()
        self._wake.set()

    # --- decisions --------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Start the legs that are wanted now; False when the fill's life is over.

        A fill of a proven content ends as soon as nothing is on its way, so that readers who stroll
        through hits do not hold its place; they join again at the next miss.
        """
        if self.failure is not None or (self._learning and self.content.proven):
            return False
        while not self._paused and len(self._legs) < self._legs_max():
            everything = self._completing() and not self._legs
            leg = self._wanted.next_leg(self.expects, self._leg_bytes, everything=everything)
            if leg is None:
                break
            self._start(leg)
        return bool(self._legs or self._paused or self._wanted.elsewhere or self._completing())

    def _completing(self) -> bool:
        """Whether all of the image is to come, because its proof is wanted."""
        return self._learning and (
            self._ports.settings.complete_in_background or self._wanted.must_prove
        )

    def _legs_max(self) -> int:
        # Until the first answer shows whether the source has ranges, one read at a time; without
        # them, one read brings everything.
        return self._ports.settings.fill_streams_max if self.content.ranged else 1

    def _start(self, leg: Leg) -> None:
        self._wanted.claim(leg)
        task = asyncio.create_task(self._fly(leg), name=f"leg {self.content.key}")
        self._legs[task] = leg
        task.add_done_callback(self._landed_leg)

    def _landed_leg(self, task: asyncio.Task[None]) -> None:
        leg = self._legs.pop(task, None)
        if leg is None:
            return
        self._release(leg)
        if leg.wrong and leg.credential is not None:
            self._credentials.suspect(leg.credential.image_id)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._leg_bytes = min(self._leg_bytes * 2, self._ports.settings.fill_read_bytes_max)
        elif isinstance(error, UpstreamLiesError) and self._learning:
            self._fail(error)
        elif isinstance(error, UpstreamError):
            self._retry(leg, error)
        elif isinstance(error, ProxyError):
            self._fail(error)
        else:
            self._fail(FillFailedError(f"unexpected {type(error).__name__}"))
            log.error("leg of %s broke", self.content.key, exc_info=error)
        self._wake.set()

    def _release(self, leg: Leg) -> None:
        """Who waits for what this leg was to bring has to see for himself."""
        while leg.claims:
            self._ports.inflight.release(leg.claims.pop())

    def _retry(self, leg: Leg, error: UpstreamError) -> None:
        """Go on behind what has arrived, a few times, with somebody's credentials."""
        lies = isinstance(error, UpstreamLiesError)
        if lies and leg.credential is not None:
            self._credentials.suspect(leg.credential.image_id)
        if leg.torn is not None and self.content.ranged and not lies:
            index, torn = leg.torn
            self._torn[index] = torn
        if isinstance(error, UpstreamAnswerError):
            if error.status == 400 and self.content.ranged is None:
                self.content.ranged = False  # Glance's answer on a store that cannot do ranges
                return
            if error.status in REFUSALS:
                if self._credentials.choose(self._wanted.demands) is None:
                    self._fail(error)
                return
            if error.status < 500:
                self._fail(error)
                return
        if leg.progressed:
            self._attempts = 0
        self._attempts += 1
        if self._attempts >= ATTEMPTS_MAX:
            self._fail(error)
            return
        self._paused = True
        delay = min(BACKOFF_SECONDS * 2**self._attempts, BACKOFF_SECONDS_MAX)
        asyncio.get_running_loop().call_later(delay, self._resume)

    def _resume(self) -> None:
        self._paused = False
        self._wake.set()

    # --- legs -------------------------------------------------------------------------------------

    async def _fly(self, leg: Leg) -> None:
        content, grid = self.content, self.content.grid
        credential = leg.credential = self._credentials.choose(self._wanted.demands)
        if credential is None:
            raise FillFailedError("no reader's credentials are left")
        torn = self._torn.pop(leg.first, None) if content.ranged else None
        span = leg.span(grid, torn) if content.ranged is not False else None
        reading = self._ports.source.read(credential.image_id, credential.headers, span)
        reservation, borrowed = await self.stowage.room_for(leg)
        try:
            async with reading as body:
                if body.size is not None and body.size != grid.size:
                    raise UpstreamLiesError(f"size {body.size}, expected {grid.size}")
                if span is not None and not body.ranged:
                    content.ranged, torn = False, None
                    leg.first, leg.stop = 0, self._wanted.stop(leg.stop)
                    if not borrowed:
                        reservation.close()
                        reservation, borrowed = await self.stowage.room_for(leg)
                content.ranged = body.ranged
                self._wake.set()
                async with Landings() as landings:

                    async def land(index: int, buffer: bytearray) -> None:
                        await landings.add(self.stowage.land(leg, index, buffer, reservation))

                    await leg.assemble(body, grid, torn, land)
        except UpstreamAnswerError as error:
            if error.status in REFUSALS:
                self._credentials.refuse(credential)
            raise
        finally:
            if not borrowed:
                reservation.close()

    # --- proof ------------------------------------------------------------------------------------

    async def _prove(self) -> None:
        """Compare the whole with the image's hash, and end the fill one way or the other."""
        try:
            await prove(self.facts, self.content, self._ports, self.landed, self.look_again)
            self._on_proven(self.facts, self.content)
        except ProxyError as error:
            self._fail(error)
        except Exception as error:
            # Whatever it is, no reader may wait for a proof that will not come.
            log.exception("proving %s broke", self.content.key)
            self._fail(FillFailedError(f"unexpected {type(error).__name__}"))
        else:
            self._waiters.wake(None)
            self._wake.set()
