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
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.ledger import allocated
from cacheproxy.core.plan import longest_fetch
from cacheproxy.errors import (
    CacheRefusedError,
    ChunkLostError,
    FillFailedError,
    InvalidChunkError,
    NoRoomError,
    ProofFailedError,
    ProxyError,
    StorageError,
    UpstreamAnswerError,
    UpstreamError,
    UpstreamLiesError,
)
from cacheproxy.fill.content import Content
from cacheproxy.fill.demand import Credential, Demand
from cacheproxy.fill.landings import Landings
from cacheproxy.fill.leg import Leg, Torn
from cacheproxy.fill.prover import Prover
from cacheproxy.fill.source import Source
from cacheproxy.fill.waiters import Waiters
from cacheproxy.metrics import VERIFY_FAILURES, Meter
from cacheproxy.store.chunkstore import ChunkStore, Reservation, Stored

log = logging.getLogger(__name__)

FIRST_LEG_BYTES = 32 << 20  # the first range of a run; doubled while a run goes on
READ_AHEAD_CHUNKS = 64  # how far before a reader of a proven content chunks are fetched
SAVE_EVERY_CHUNKS = 64
ATTEMPTS_MAX = 5  # failures of the source in a row, without a chunk landing between them
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 2.0
PROOF_RETRIES_MAX = 3  # chunks damaged on the disk between landing and hashing
CREDENTIALS_MAX = 64  # kept of readers who have left
DISK_SECONDS_MAX = 30.0  # the longest wait for the disk to take one chunk


@dataclass(frozen=True, slots=True)
class FillPorts:
    """What every fill works with."""

    store: ChunkStore
    source: Source
    settings: CacheSettings
    meter: Meter
    provers: Executor
    tick: Callable[[], int]
    shared: Callable[[Fill, bytes], None]  # this fill met a chunk that is stored already
    pinned: Callable[[Fill], bool]  # whether what this fill brings is to stay


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
        self._demands: list[Demand] = []
        self._credentials: dict[Credential, None] = {}  # the latest last
        self._refused: set[Credential] = set()
        self._legs: dict[asyncio.Task[None], Leg] = {}
        self._torn: dict[int, Torn] = {}
        self._leg_bytes = FIRST_LEG_BYTES
        self._attempts = 0
        self._paused = False
        self._wake = asyncio.Event()
        self._waiters = Waiters()
        self._begun = content.proven
        self._reservation: Reservation | None = None
        self._protected: dict[int, bytes] = {}
        self._fresh: set[bytes] = set()
        self._learnt = 0
        self._there: set[int] = set()  # while learning: what has landed, and stays
        self._complete_to = 0  # every chunk below this is there
        self._ended = False

    def __repr__(self) -> str:
        state = "ended" if self._ended else f"{len(self._legs)} legs, {len(self._demands)} demands"
        return f"<Fill {self.content.key}: {state}>"

    # --- for whoever looks on --------------------------------------------------------------------

    @property
    def whole(self) -> bool:
        """Whether all of the image is to come, not only what readers want of a proven one."""
        return self._learning and self._completing()

    @property
    def readers(self) -> int:
        """How many wait for chunks of it."""
        return len(self._demands)

    @property
    def there_bytes(self) -> int:
        """Return what is there of the image; of a proven content only what this fill brought."""
        if self._learning:
            return min(len(self._there) * self.content.grid.chunk_bytes, self.content.grid.size)
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
        self._demands.append(demand)
        self._credentials.pop(credential, None)
        self._credentials[credential] = None
        if len(self._credentials) > CREDENTIALS_MAX:
            del self._credentials[next(iter(self._credentials))]
        self._wake.set()
        return demand

    def leave(self, demand: Demand) -> None:
        """The reader is served or gone; its credentials stay until the fill ends."""
        self._demands.remove(demand)
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
        self._check()
        self._wake.set()
        await self._news(index)
        self._check()

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
        self._there = {index for index in self._there if self.content.present(index)}
        self._complete_to = 0
        for demand in self._demands:
            demand.served = 0
        self._wake.set()

    def disown(self, digest: bytes) -> None:
        """Another fill stores the same chunk: it stays, whatever becomes of this fill."""
        self._fresh.discard(digest)

    def break_off(self, error: ProxyError) -> None:
        """End it with this error, unless it failed already."""
        self._fail(error)

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    # --- life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fill until nobody wants more; the outcome is in `failure` and in the content."""
        proving: asyncio.Task[None] | None = None
        try:
            if self._learning:
                await self._begin_learning()
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

    async def _begin_learning(self) -> None:
        """Protect what is there already and reserve room for the rest."""
        grid, absent = self.content.grid, 0
        for index in range(grid.count):
            digest = self.content.manifest.digest(index)
            if digest is not None and self._ports.store.has(digest):
                self._protect(index, digest)
                self._there.add(index)
            else:
                absent += len(grid.chunk(index))
            if index % 1024 == 1023:
                await asyncio.sleep(0)  # a long manifest must not hold the loop
        if absent:
            self._reservation = await self._ports.store.reserve(absent)
        self._begun = True
        self._waiters.wake(None)

    def _protect(self, index: int, digest: bytes) -> None:
        if index not in self._protected:
            self._protected[index] = digest
            self._ports.store.protect(digest)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Stop what still runs and give everything back."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._legs.clear()
        for digest in self._protected.values():
            self._ports.store.unprotect(digest)
        self._protected.clear()
        self._torn.clear()
        self._credentials.clear()
        if self._reservation is not None:
            self._reservation.close()
        try:
            if isinstance(self.failure, ProofFailedError) and self._learning:
                self.content.discard()
                await self._ports.store.drop(self._fresh)
            elif not self.content.proven:
                self.content.save()
        except StorageError as error:
            log.warning("what a fill of %s learnt is lost: %s", self.content.key, error)
        finally:
            self._fresh.clear()
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
            level = logging.INFO if disk else logging.WARNING
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
            leg = self._next_leg()
            if leg is None:
                break
            self._start(leg)
        return bool(self._legs or self._paused or self._completing())

    def _completing(self) -> bool:
        """Whether all of the image is to come, because its proof is wanted."""
        return self._learning and (
            self._ports.settings.complete_in_background
            or any(demand.must_prove for demand in self._demands)
        )

    def _legs_max(self) -> int:
        # Until the first answer shows whether the source has ranges, one read at a time; without
        # them, one read brings everything.
        return self._ports.settings.fill_streams_max if self.content.ranged else 1

    def _next_leg(self) -> Leg | None:
        """Choose the read that serves the first reader whose next chunk is not on its way."""
        count = self.content.grid.count
        while self._complete_to in self._there:
            self._complete_to += 1
        for demand in self._demands:
            first, stop = self._first_wanted(demand)
            if first < stop and not self.expects(first):
                return self._leg(first, stop)
        if self._completing() and not self._legs and self._complete_to < count:
            first = self._first_absent(self._complete_to, count)
            return self._leg(first, count)
        return None

    def _first_wanted(self, demand: Demand) -> tuple[int, int]:
        """Return the first absent chunk that a reader wants, and where its wish ends for now."""
        if not self._learning:
            stop = min(demand.stop, demand.cursor + READ_AHEAD_CHUNKS)
            return self._first_absent(demand.cursor, stop), stop
        # What is learnt stays, so nobody looks at it twice.
        start = max(demand.served, demand.cursor)
        if demand.cursor <= self._complete_to:
            start = max(start, self._complete_to)
        demand.served = self._first_absent(min(start, demand.stop), demand.stop)
        return demand.served, demand.stop

    def _first_absent(self, start: int, stop: int) -> int:
        there = self._there
        while start < stop and (start in there or self.content.present(start)):
            start += 1
        return start

    def _leg(self, start: int, stop: int) -> Leg | None:
        chunks_max = max(1, self._leg_bytes // self.content.grid.chunk_bytes)
        run = longest_fetch(start, stop, chunks_max, self.content.present, self.expects)
        if run is None:
            return None
        if self.content.ranged is False:
            # Read once from byte 0, so as far as anybody wants.
            everything = self.content.grid.count
            wanted = max((demand.stop for demand in self._demands), default=run.stop)
            return Leg(0, everything if self._learning else wanted)
        return Leg(run.first, run.stop)

    def _start(self, leg: Leg) -> None:
        task = asyncio.create_task(self._fly(leg), name=f"leg {self.content.key}")
        self._legs[task] = leg
        task.add_done_callback(self._landed_leg)

    def _landed_leg(self, task: asyncio.Task[None]) -> None:
        leg = self._legs.pop(task, None)
        if leg is None or task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._leg_bytes = min(self._leg_bytes * 2, self._ports.settings.fill_read_bytes_max)
        elif isinstance(error, UpstreamError) and not isinstance(error, UpstreamLiesError):
            self._retry(leg, error)
        elif isinstance(error, ProxyError):
            self._fail(error)
        else:
            self._fail(FillFailedError(f"unexpected {type(error).__name__}"))
            log.error("leg of %s broke", self.content.key, exc_info=error)
        self._wake.set()

    def _retry(self, leg: Leg, error: UpstreamError) -> None:
        """Go on behind what has arrived, a few times, with somebody's credentials."""
        if leg.torn is not None and self.content.ranged:
            index, torn = leg.torn
            self._torn[index] = torn
        if isinstance(error, UpstreamAnswerError):
            if error.status == 400 and self.content.ranged is None:
                self.content.ranged = False  # Glance's answer on a store that cannot do ranges
                return
            if error.status in (401, 403, 404):
                if self._credential() is None:
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

    def _credential(self) -> Credential | None:
        """Choose whose right is used: a present reader's first, the latest before the earlier."""
        present = [demand.credential for demand in self._demands]
        for credential in (*reversed(present), *reversed(self._credentials)):
            if credential not in self._refused:
                return credential
        return None

    # --- legs -------------------------------------------------------------------------------------

    async def _fly(self, leg: Leg) -> None:
        content, grid = self.content, self.content.grid
        credential = self._credential()
        if credential is None:
            raise FillFailedError("no reader's credentials are left")
        torn = self._torn.pop(leg.first, None) if content.ranged else None
        span = leg.span(grid, torn) if content.ranged is not False else None
        reading = self._ports.source.read(credential.image_id, credential.headers, span)
        reservation, borrowed = await self._room_for(leg)
        try:
            async with reading as body:
                if body.size is not None and body.size != grid.size:
                    raise UpstreamLiesError(f"size {body.size}, expected {grid.size}")
                if span is not None and not body.ranged:
                    content.ranged, torn = False, None
                    if not self._learning:
                        return  # room is reserved for other chunks than these: ask once more
                    leg.first, leg.stop = 0, grid.count
                content.ranged = body.ranged
                self._wake.set()
                async with Landings() as landings:

                    async def land(index: int, buffer: bytearray) -> None:
                        await landings.add(self._land(leg, index, buffer, reservation))

                    await leg.assemble(body, grid, torn, land)
        except UpstreamAnswerError as error:
            if error.status in (401, 403, 404):
                self._refused.add(credential)
            raise
        finally:
            if not borrowed:
                reservation.close()

    async def _room_for(self, leg: Leg) -> tuple[Reservation, bool]:
        """Return room for a leg's absent chunks, and whether it is the whole fill's."""
        if self._reservation is not None:
            return self._reservation, True
        grid = self.content.grid
        absent = sum(
            allocated(len(grid.chunk(index)))
            for index in range(leg.first, leg.stop)
            if not self.content.present(index)
        )
        return await self._ports.store.reserve(absent), False

    async def _land(
        self, leg: Leg, index: int, buffer: bytearray, reservation: Reservation
    ) -> None:
        """Hash, store and announce a chunk."""
        content = self.content
        known = content.manifest.digest(index)
        was_there = content.present(index)
        try:
            stored = await self._put(memoryview(buffer), reservation, known)
            if self._learning:
                content.manifest.learn(index, stored.digest)
        except (InvalidChunkError, ValueError) as error:
            raise ProofFailedError(f"chunk {index} is not what it was") from error
        except TimeoutError as error:
            raise StorageError("the disk takes no chunk") from error
        if self._learning:
            self._protect(index, stored.digest)
            self._there.add(index)
            self._learnt += 1
            if self._learnt % SAVE_EVERY_CHUNKS == 0:
                content.save()
        if stored.new:
            self._fresh.add(stored.digest)
        else:
            self._ports.shared(self, stored.digest)
        if not was_there:
            content.landed[index] = self._ports.tick()
            content.arrived_bytes += len(buffer)
            leg.progressed = True
        leg.landed.add(index)
        self._waiters.wake(index)

    async def _put(self, data: memoryview, reservation: Reservation, known: bytes | None) -> Stored:
        store = self._ports.store
        async with asyncio.timeout(DISK_SECONDS_MAX):
            put = partial(store.put, data, sealed_by=known, pinned=self._ports.pinned(self))
            try:
                return await put(reservation=reservation)
            except NoRoomError:
                # Reserved for what was absent; this chunk was found damaged since.
                reservation = await store.reserve(len(data))
                try:
                    return await put(reservation=reservation)
                finally:
                    reservation.close()

    # --- proof ------------------------------------------------------------------------------------

    async def _prove(self) -> None:
        """Compare the whole with the image's hash, and end the fill one way or the other."""
        try:
            await self._hash_whole()
        except ProxyError as error:
            self._fail(error)
        except Exception as error:
            # Whatever it is, no reader may wait for a proof that will not come.
            log.exception("proving %s broke", self.content.key)
            self._fail(FillFailedError(f"unexpected {type(error).__name__}"))
        else:
            self._on_proven(self.facts, self.content)
            self._waiters.wake(None)
            self._wake.set()

    async def _hash_whole(self) -> None:
        content = self.content

        async def chunk(index: int) -> tuple[bytes, int]:
            while not content.present(index):
                await self.landed(index)
            digest = content.manifest.digest(index)
            assert digest is not None
            return digest, len(content.grid.chunk(index))

        for _ in range(PROOF_RETRIES_MAX):
            prover = Prover(self.facts, self._ports.store, self._ports.provers)
            try:
                matches = await prover.matches(content.grid.count, chunk)
            except ChunkLostError:
                self.look_again()  # quarantined; a leg fetches it again
                continue
            if not matches:
                self._ports.meter.inc(VERIFY_FAILURES)
                raise ProofFailedError("the image's data does not match its hash")
            return
        raise StorageError("chunks are damaged on the disk again and again")
