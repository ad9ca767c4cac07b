"""Does the jobs that are owed, this instance as any other.

due        a job is owed by the transaction that made it necessary; any instance may claim it, one
           that is bound to a host only that
claimed    by a conditional update, which gives the claimer a lease and counts the attempt: so also
           those that killed their process are counted
held       the lease is renewed while the handler runs; if it cannot be, the handler is cancelled
           before another may claim the job, and a handler that ends in the same transaction
           (`registry.db.jobs.end_job`) ends only what it still holds
done       the job is forgotten; a recurring one is due again after its pause
failed     again after a pause that doubles; a `RegistryError` is for good, unless it says that
           something does not answer
given up   after too many attempts: once more, to whoever settles what the job leaves behind, then
           it stays in the database with its reason, for a while
stopped    with the process: the job is given back, the attempt does not count

Handlers must bear being run again after they got anywhere.  All times are told in the database's
clock (`registry.db.clock`); how long a lease may be relied upon, in this process's monotonic one,
from before it was renewed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from registry.db.database import Database
from registry.db.jobs import (
    add_recurring_job,
    backlogs,
    claim_job,
    due_jobs,
    end_job,
    forget_jobs,
    give_up_job,
    postpone_job,
    renew_job,
)
from registry.domain.errors import RegistryError, UnavailableError
from registry.domain.job import Backlog, Job
from registry.service.holding import hold

__all__ = ["Handler", "Job", "Jobs", "LaterError", "Pace", "pace_of"]

LOG = logging.getLogger(__name__)

AT_ONCE = 10  # jobs of one kind in one instance; Glance's [taskflow_executor] max_workers
ATTEMPTS_MAX = 8  # then a job is given up: about four minutes of failing, or eight killed processes
SETTLING_MAX = 8  # attempts at settling what it leaves behind
KEPT_DAYS = 30  # what was given up stays to be looked at
COUNT_SECONDS = 15.0  # from one look at how many wait to the next
STOP_SECONDS = 10.0  # for handlers to end and jobs to be given back when the process stops
DIED = "none of its attempts came to an end"
REASON_LENGTH_MAX = 2000  # characters of a failure's text

Handler: TypeAlias = Callable[[Job], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Pace:
    """Times, in seconds."""

    lease: float = 60.0  # from the death of an instance to another claiming its jobs
    renewal: float = 15.0
    poll: float = 2.0  # how late jobs that other instances added are seen
    retry: float = 2.0  # before the second attempt, then twice that, and so on
    retry_max: float = 300.0


def pace_of(lease: float) -> Pace:
    """Return the pace at which an instance is taken for dead after so many seconds."""
    return Pace(lease=lease, renewal=lease / 4)


class LaterError(Exception):
    """A handler's word that its job cannot be done yet; that is no failure."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in {seconds} seconds")
        self.seconds = seconds


class Jobs:
    """The jobs of the kinds that have a handler.

    `settlers` are told of jobs that are given up, to settle what they leave behind; `recurring`
    kinds have one job in all instances together, due again so many seconds after it was done;
    `limits` say how many of a kind are done at the same time, where that is not `AT_ONCE`.
    """

    def __init__(  # noqa: PLR0913  # the rest by name
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        host: str,
        *,
        settlers: Mapping[str, Handler] | None = None,
        recurring: Mapping[str, float] | None = None,
        limits: Mapping[str, int] | None = None,
        pace: Pace = Pace(),
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._host = host
        self._settlers = settlers or {}
        self._recurring = recurring or {}
        self._limits = limits or {}
        self._pace = pace
        self._running: dict[asyncio.Task[None], Job] = {}
        self._news = asyncio.Event()
        self.outcomes: Counter[tuple[str, str]] = Counter()  # by kind; of this instance
        self.backlogs: Sequence[Backlog] = ()  # of all instances, when it was last looked

    def __repr__(self) -> str:
        return f"<Jobs of {self._host}: {list(self._running.values())}>"

    @property
    def running(self) -> Counter[str]:
        """How many of each kind this instance does now."""
        return Counter(job.kind for job in self._running.values())

    def wake(self) -> None:
        """Look for jobs now; to be called after a transaction that added one."""
        self._news.set()

    async def run(self) -> None:
        """Do jobs until cancelled; those in progress are then given back."""
        try:
            await self._begin()
            clock = asyncio.get_running_loop().time
            counted = -COUNT_SECONDS
            while True:
                self._news.clear()
                try:
                    await self._claim_due()
                    if clock() - counted >= COUNT_SECONDS:
                        self.backlogs = await self._database.ask(backlogs, self._handlers)
                        counted = clock()
                except UnavailableError as error:
                    LOG.warning("nobody knows which jobs are due: %s", error)
                await self._wait(self._pace.poll * random.uniform(0.5, 1))  # noqa: S311  # nothing secret
        finally:
            await self._stop()

    async def _begin(self) -> None:
        while True:
            try:
                for kind, seconds in self._recurring.items():
                    await self._database.change(add_recurring_job, kind, seconds)
                await self._database.change(forget_jobs, KEPT_DAYS)
            except UnavailableError as error:
                LOG.warning("jobs cannot begin yet: %s", error)
            else:
                return
            await asyncio.sleep(self._pace.poll)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def _claim_due(self) -> None:
        busy = self.running
        room = {kind: self._limits.get(kind, AT_ONCE) - busy[kind] for kind in self._handlers}
        room = {kind: count for kind, count in room.items() if count > 0}
        if not room:
            return  # whoever ends calls
        for due in await self._database.ask(due_jobs, room, self._host):
            started = asyncio.get_running_loop().time()
            job = await self._database.change(claim_job, due, self._pace.lease)
            if job is None:
                continue
            task = asyncio.create_task(self._do(job, started), name=f"job {job.id} ({job.kind})")
            self._running[task] = job
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        job = self._running.pop(task)
        self.wake()
        if task.cancelled() or (error := task.exception()) is None:
            return
        # Of the database's absence all is said by its words.
        trace = None if isinstance(error, UnavailableError) else error
        LOG.error(
            "job %s (%s) could not be written down: %s", job.id, job.kind, error, exc_info=trace
        )

    async def _do(self, job: Job, claimed: float) -> None:
        """Handle a job, hold it meanwhile, and write down what it came to."""
        is_settled = job.attempts > ATTEMPTS_MAX and job.kind not in self._recurring
        handler = (self._settlers if is_settled else self._handlers).get(job.kind)
        if handler is None or (is_settled and job.attempts > ATTEMPTS_MAX + SETTLING_MAX):
            await self._give_up(job, None)
            return
        handling = asyncio.ensure_future(handler(job))
        holding = asyncio.create_task(self._hold(job, claimed))
        try:
            await asyncio.wait({handling, holding}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _cancelled(handling, holding)
            await self._give_back(job)
            raise
        is_held = not holding.done()
        await _cancelled(handling, holding)
        if handling.cancelled():
            if is_held:
                await self._give_back(job)
            else:
                self.outcomes[job.kind, "lost"] += 1
                LOG.warning("job %s (%s) is lost to others, or to time", job.id, job.kind)
        elif (error := handling.exception()) is not None:
            await self._note_failure(job, error, is_settled=is_settled)
        elif is_settled:
            await self._give_up(job, None)
        else:
            self.outcomes[job.kind, "done"] += 1
            await self._end(job)

    async def _hold(self, job: Job, claimed: float) -> None:
        """Renew the lease; return when it is lost."""
        await hold(
            f"job {job.id} ({job.kind})",
            partial(self._database.change, renew_job, job),
            claimed=claimed,
            lease=self._pace.lease,
            pause=self._pace.renewal,
        )

    async def _end(self, job: Job) -> None:
        seconds = self._recurring.get(job.kind)
        if seconds is None:
            await self._database.change(end_job, job)  # unless the handler did
            return
        await self._database.change(postpone_job, job, seconds, attempts=0)

    async def _note_failure(self, job: Job, error: BaseException, *, is_settled: bool) -> None:
        if isinstance(error, LaterError):
            self.outcomes[job.kind, "later"] += 1
            await self._database.change(postpone_job, job, error.seconds, attempts=0)
            return
        self.outcomes[job.kind, "failed"] += 1
        reason = f"{type(error).__name__}: {error}"[:REASON_LENGTH_MAX]
        if isinstance(error, RegistryError):
            LOG.warning("job %s (%s) failed: %s", job.id, job.kind, error)
        else:
            LOG.error("job %s (%s) failed", job.id, job.kind, exc_info=error)
        is_final = isinstance(error, RegistryError) and not isinstance(error, UnavailableError)
        often = self._recurring.get(job.kind)
        if is_final and not is_settled:
            if often is None:
                await self._give_up(job, reason)
            else:
                await self._end(job)
            return
        pause = min(
            self._pace.retry * 2.0 ** ((job.attempts - 1) % ATTEMPTS_MAX), self._pace.retry_max
        )
        if often is not None:
            pause = min(pause, often)
        elif job.attempts == ATTEMPTS_MAX:
            pause = 0.0  # to be settled, and given up
        await self._database.change(postpone_job, job, pause, attempts=job.attempts, reason=reason)

    async def _give_up(self, job: Job, reason: str | None) -> None:
        self.outcomes[job.kind, "given_up"] += 1
        LOG.error("job %s (%s) of image %s is given up", job.id, job.kind, job.image_id)
        await self._database.change(give_up_job, job, reason, DIED)

    async def _give_back(self, job: Job) -> None:
        """Let others do a job at once."""
        attempts = job.attempts - 1
        try:
            await self._database.change(postpone_job, job, 0.0, attempts=attempts)
        except UnavailableError:
            LOG.warning("job %s (%s) is free when its lease ends", job.id, job.kind)

    async def _stop(self) -> None:
        tasks = set(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            if stuck:
                LOG.error("%d jobs do not end; their leases will", len(stuck))


async def _cancelled(*futures: asyncio.Future[None]) -> None:
    """Cancel, and wait for the end."""
    for future in futures:
        future.cancel()
    await asyncio.wait(futures)
    for future in futures:
        if not future.cancelled():
            future.exception()  # looked at
