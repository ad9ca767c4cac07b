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
* One read at a time serves a run, unless more of them bring more (`core/streams.py`).
* A source is asked for ranges until it shows that it has none (400, or 200 instead of 206); then
  it is read once from byte 0, and readers are released as their chunks land.
* Where a store fails that is read in its stead, the next leg goes on at once.  Each is planned as a
  range, and becomes the whole where it finds none (`transfers.py`).
* Failure of the source ends the fill and keeps what was learnt; bytes that contradict their hash,
  their length or themselves discard all of it.
* Who may not read any more is replaced by somebody who may (`rights.py`), at the byte; when nobody
  is left, what came is kept for the next reader.
* Bytes that contradict a proven manifest touch nothing: the chunk is refused and asked for again,
  rather as a reader of another image of equal content.  Who waits for a chunk that no source has
  right fails with the proof, and is not sent round the cache: the upstream would give him the
  same wrong bytes, of which we know that they are wrong.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.streams import Streams
from cacheproxy.errors import (
    CacheRefusedError,
    FillFailedError,
    ProofFailedError,
    ProxyError,
    RightLostError,
    StorageError,
    StoreFailedError,
    UpstreamAnswerError,
    UpstreamError,
    UpstreamLiesError,
)
from cacheproxy.fill.content import Content
from cacheproxy.fill.demand import Credential, Demand
from cacheproxy.fill.leg import Leg
from cacheproxy.fill.patience import Patience
from cacheproxy.fill.ports import FillPorts
from cacheproxy.fill.prover import prove
from cacheproxy.fill.rights import Rights
from cacheproxy.fill.stowage import Stowage
from cacheproxy.fill.transfers import REFUSALS, Transfers
from cacheproxy.fill.waiters import Waiters
from cacheproxy.fill.wanted import Wanted

log = logging.getLogger(__name__)

FIRST_LEG_BYTES = 32 << 20  # the first range of a run; doubled while a run goes on
BESIDE_BYTES = 16 << 20  # a range beside others: where it does not pay, others wait for it
ACCOUNT_SECONDS = 2.0  # before the proxy's own account, which cannot log in, is tried again
# What servers in front of it say when they want to be asked again, besides 5xx.
BUSY = (408, 429)


class Fill:
    """The fill of one content; `run` is its life."""

    def __init__(
        self,
        facts: ImageFacts,
        content: Content,
        ports: FillPorts,
        on_proven: Callable[[ImageFacts, Content], None],
        prefer: Sequence[str] = (),
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
        self._rights = Rights(ports.account)
        self._legs: dict[asyncio.Task[None], Leg] = {}
        self._leg_bytes = min(FIRST_LEG_BYTES, ports.settings.fill_read_bytes_max)
        self._streams = Streams(ports.settings.fill_streams_max)
        self._patience = Patience(self.began)
        self._paused = False
        self._wake = asyncio.Event()
        self._waiters = Waiters()
        self._begun = content.proven
        self._ended = False
        self.stowage = Stowage(facts, content, ports, self._wanted, self._came)
        self._transfers = Transfers(
            content, ports, self._wanted, self._rights, self.stowage, self._wake.set, prefer
        )
        content.ranged = content.ranged_upstream  # a store that was read before may be away

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
        self._rights.add(credential)
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
        if not self.expects(index):
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

    def _came(self, index: int, wanting: bool) -> None:
        """A chunk has landed, or was refused."""
        if wanting:
            now = time.monotonic()
            self._patience.fruitful(now)
            flying = sum(leg.streaming for leg in self._legs.values())
            size = self.content.grid.chunk_bytes
            self._streams.came(size, now, time.process_time(), flying)
            if len(self._legs) < self._streams.wanted:
                self._wake.set()
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
            self._wanted.release(leg)
        self._legs.clear()
        self._transfers.clear(doubtful=isinstance(self.failure, ProofFailedError))
        self._rights.clear()
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
            log.log(self._loudness(error), "fill of %s failed: %s", self.content.key, error)
        self._waiters.wake_all()
        self._wake.set()

    def _loudness(self, error: ProxyError) -> int:
        if isinstance(error, (StorageError, CacheRefusedError)):
            return logging.DEBUG  # what the disk is up to is told once, not by each fill
        if isinstance(error, RightLostError) and not self._wanted.demands:
            return logging.INFO  # the token of who left has expired: the next reader goes on
        return logging.WARNING

    # --- decisions --------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Start the legs that are wanted now; False when the fill's life is over.

        A fill of a proven content ends as soon as nothing is on its way, so that readers who stroll
        through hits do not hold its place; they join again at the next miss.
        """
        if self.failure is not None or (self._learning and self.content.proven):
            return False
        while not self._paused and self._more_legs():
            leg = self._next_leg()
            if leg is None:
                break
            if not self._rights.left(self._wanted.demands):
                if not self._legs:
                    self._fail(self._rights.lost())
                    return False
                break  # what it has begun to send comes all the same
            self._start(leg)
        return bool(self._legs or self._paused or self._wanted.elsewhere or self._completing())

    def _next_leg(self) -> Leg | None:
        everything = self._completing()
        leg = self._wanted.next_leg(
            self.expects, self._leg_bytes, everything=everything and not self._legs
        )
        if leg is None and 0 < len(self._legs) < self._streams.wanted:
            leg = self._wanted.leg_beside(self.expects, BESIDE_BYTES, everything=everything)
        return leg

    def _completing(self) -> bool:
        """Whether all of the image is to come, because its proof is wanted."""
        return self._learning and (
            self._ports.settings.complete_in_background or self._wanted.must_prove
        )

    def _more_legs(self) -> bool:
        """Whether one more may fly: until ranges have shown, one beside those that have them."""
        if len(self._legs) >= self._ports.settings.fill_streams_max:
            return False
        ranged = (leg.streaming and leg.ranged for leg in self._legs.values())
        return bool(self.content.ranged) or all(ranged)

    def _start(self, leg: Leg) -> None:
        self._wanted.claim(leg)
        self._patience.asked(time.monotonic())
        task = asyncio.create_task(self._transfers.fly(leg), name=f"leg {self.content.key}")
        self._legs[task] = leg
        task.add_done_callback(self._landed_leg)

    def _landed_leg(self, task: asyncio.Task[None]) -> None:
        leg = self._legs.pop(task, None)
        if leg is None:
            return
        self._wanted.release(leg)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._leg_bytes = min(self._leg_bytes * 2, self._ports.settings.fill_read_bytes_max)
        elif isinstance(error, UpstreamLiesError) and self._learning:
            self._fail(error)
        elif isinstance(error, StoreFailedError):
            self.content.ranged = None  # of whoever goes on, at once
        elif isinstance(error, UpstreamError):
            if self._legs:
                self._streams.settle(len(self._legs))  # it may be one too many for the source
            self._retry(leg, error)
        elif isinstance(error, RightLostError) and self._legs:
            self._pause(ACCOUNT_SECONDS)  # who flies need not end; somebody may come meanwhile
        elif isinstance(error, ProxyError):
            self._fail(error)
        else:
            self._fail(FillFailedError(f"unexpected {type(error).__name__}"))
            log.error("leg of %s broke", self.content.key, exc_info=error)
        self._wake.set()

    def _retry(self, leg: Leg, error: UpstreamError) -> None:
        """Go on behind what has arrived, a few times, with somebody's credentials."""
        if isinstance(error, UpstreamAnswerError):
            if error.status == 400 and leg.ranged:
                # Glance's answer on a store that cannot do ranges.
                self.content.ranged = self.content.ranged_upstream = False
                return
            if error.status in REFUSALS:
                return  # somebody else's turn
            if error.status < 500 and error.status not in BUSY:
                self._fail(error)
                return
        delay = self._patience.failed(time.monotonic())
        if delay is None:
            self._fail(error)
        else:
            self._pause(delay)

    def _pause(self, delay: float) -> None:
        self._paused = True
        asyncio.get_running_loop().call_later(delay, self._resume)

    def _resume(self) -> None:
        self._paused = False
        self._wake.set()

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
