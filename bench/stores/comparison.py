"""Our driver and glance_store's on one service, in turn: each operation in a process of its own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.bars import BARS
from bench.images import MIB
from bench.rounds import Figures
from bench.scenario import MissingError, Options, Report, Scenario
from bench.server import LOAD_CORE, SERVER_CORE, pinned
from bench.sides import OURS, Sides
from bench.stores import job as jobs
from bench.stores.job import Done, Job, Source, digest_of
from bench.stores.services import Service

REPOSITORY = Path(__file__).parents[2]
GLANCE = REPOSITORY / ".venv-services/glance"
THEIRS = "glance_store"
IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 16 * MIB
RANGE_BYTES = MIB
RANGES = 32
RANGES_QUICK = 3
FEW = 4
GB = 1e9
JOB_SECONDS = 600.0

RATE, PER_SECOND, CPU, PEAK = "MB/s", "ranges/s", "CPU s/GB", "peak MiB"
REFUSED = "refused"
OWN_BUSY, SERVICE_BUSY = "driver's core %", "service's core %"
COLUMNS = (RATE, CPU, PEAK, OWN_BUSY, SERVICE_BUSY)


@dataclass(frozen=True, slots=True)
class Case:
    """One operation, and on which cores its process may run; the service has one of them."""

    verb: str
    title: str
    bar: str
    cores: tuple[int, ...] = (SERVER_CORE,)

    @property
    def name(self) -> str:
        """Tell it from the others."""
        return self.verb if len(self.cores) == 1 else f"{self.verb}, both cores"


BOTH = (SERVER_CORE, LOAD_CORE)
CASES = (
    Case(
        jobs.UP_HASHED, "up, MD5 and SHA-512 computed by its writer, as Glance has it", "store-up"
    ),
    Case(jobs.UP_HASHED, "the same, the driver's process on both cores", "store-up", BOTH),
    Case(jobs.UP, "up, no hash but the driver's own", "store-up-alone"),
    Case(jobs.DOWN, "down, whole", "store-down"),
    Case(jobs.DOWN, "the same, the driver's process on both cores", "store-down", BOTH),
)


@dataclass(frozen=True, slots=True)
class Side:
    """Runs the operations of one of the two."""

    name: str
    command: Sequence[str | Path]

    def done(self, job: Job) -> Done:
        """Run one; RuntimeError with what it said if it fails."""
        ran = subprocess.run(
            [*self.command, job.command()],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=JOB_SECONDS,
            check=False,
        )
        if ran.returncode:
            raise RuntimeError(f"{self.name}: {job.verb}: {ran.stderr[-2000:]}")
        return Done(**json.loads(ran.stdout.splitlines()[-1]))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both sides, what each is told of the service, and an image that is there already."""

    sides: Mapping[str, tuple[Side, Path]]
    size: int
    uri: str
    settle: Callable[[], object]  # see `Backing`

    def run(
        self,
        verb: str,
        name: str,
        spans: Sequence[tuple[int, int]] = (),
        cores: Sequence[int] = (SERVER_CORE,),
    ) -> Figures:
        """Run one operation of a side on these cores; what it wrote is removed."""
        side, configuration = self.sides[name]
        job = Job(
            verb,
            str(configuration),
            uri=self.uri,
            known=self.uri,
            name=str(uuid.uuid4()),
            size=self.size,
            spans=tuple(spans),
            cores=(SERVER_CORE, LOAD_CORE),
        )
        with pinned(*cores):
            done = side.done(job)
        expected = sum(stop - start for start, stop in spans) or self.size
        if done.moved != expected:
            raise RuntimeError(f"{name}: {verb}: {done.moved} bytes instead of {expected}")
        if verb in (jobs.UP, jobs.UP_HASHED):
            side.done(Job(jobs.DELETE, str(configuration), uri=done.result))
            self.settle()
        own, service = (100 * share for share in done.busy)
        rates = {PER_SECOND: len(spans) / done.seconds, RATE: done.moved / 1e6 / done.seconds}
        rate = PER_SECOND if spans else RATE
        return {
            rate: rates[rate],
            CPU: done.cpu_seconds / (done.moved / GB),
            PEAK: done.peak_bytes / MIB,
            OWN_BUSY: own,
            SERVICE_BUSY: service,
            REFUSED: float(done.refused),
        }


@contextmanager
def prepared(service: Service, options: Options) -> Iterator[Comparison]:
    """Run a service, write an image with one side, and see that both read it as it is."""
    if not (GLANCE / "installed").exists():
        raise MissingError("glance_store is not installed: make services")
    size = IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES
    home = options.directory
    (home / "service").mkdir()
    ours = Side(OURS, (sys.executable, "-m", "bench.stores.ours"))
    theirs = Side(THEIRS, (GLANCE / "bin/python", "-m", "bench.stores.theirs"))
    with service(home / "service") as backing:
        sides = {
            OURS: (ours, backing.written(home / "ours.conf", backing.ours)),
            THEIRS: (theirs, backing.written(home / "theirs.conf", backing.theirs)),
        }
        name = str(uuid.uuid4())
        made = Job(jobs.UP, str(sides[THEIRS][1]), name=name, size=size)
        uri = theirs.done(made).result
        expected = digest_of(iter(partial(Source(size).read, MIB), b""))
        for side, configuration in sides.values():
            read = side.done(Job(jobs.CHECK, str(configuration), uri=uri))
            if read.result != expected:
                raise RuntimeError(f"{side.name} reads another image than was written")
        yield Comparison(sides, size, uri, backing.settle)


def scenario(name: str, what: str, service: Service) -> Scenario:
    """Return the scenario of a service."""
    return Scenario(
        name,
        f"our driver against glance_store's on {what}: up, down, ranges",
        partial(_run, name, what, service),
    )


def _run(name: str, what: str, service: Service, options: Options) -> Report:
    report = Report([])
    with prepared(service, options) as both:
        mib = both.size // MIB
        for case in CASES:
            found = Sides.measured(
                f"{name}, {case.name}",
                {side: partial(both.run, case.verb, side, cores=case.cores) for side in both.sides},
                options,
            )
            report.tables.append(
                found.table(
                    f"{mib} MiB {case.title}: {what}, medians of {options.rounds} rounds",
                    COLUMNS,
                    ratio=RATE,
                )
            )
            report.rounds[f"{name}, {case.name}"] = found.plain()
            report.verdicts += [
                BARS[case.bar].judge(found.ratio(RATE, OURS, THEIRS), f"{what}, {case.name}"),
                BARS[f"{case.bar}-cpu"].judge(
                    found.ratio(CPU, OURS, THEIRS), f"{what}, {case.name}"
                ),
                BARS["store-peak"].judge(found.spread(OURS, PEAK), f"{what}, {case.name}"),
            ]
            report.notes.append(f"{case.name}: {found.rounds.note()}")
        _ranges(name, what, both, options, report)
    return report


def _ranges(name: str, what: str, both: Comparison, options: Options, report: Report) -> None:
    choice = random.Random(2)
    count = RANGES_QUICK if options.quick else RANGES
    starts = [choice.randrange(both.size - RANGE_BYTES) for _ in range(count)]
    spans = [(start, start + RANGE_BYTES) for start in starts]

    def turn(side: str) -> Figures:
        few = spans if side == OURS else spans[:FEW]  # else it would take all day
        return both.run(jobs.RANGES, side, few)

    found = Sides.measured(
        f"{name}, ranges", {side: partial(turn, side) for side in both.sides}, options
    )
    report.tables.append(
        found.table(
            f"Random ranges of {RANGE_BYTES // MIB} MiB, one after the other: {what},"
            f" medians of {options.rounds} rounds",
            (PER_SECOND, CPU, PEAK, OWN_BUSY, SERVICE_BUSY),
            ratio=PER_SECOND,
        )
    )
    report.rounds[f"{name}, ranges"] = found.plain()
    report.notes.append(f"ranges: {found.rounds.note()}")
    if found.median(THEIRS, REFUSED):
        report.notes.append(
            "glance_store refuses ranges of this store (StoreRandomGetNotSupported): who needs one"
            " reads the image up to its end, which is what is measured"
        )
