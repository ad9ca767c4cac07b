"""100,000 images with a million properties: lists, filters and pages, beside Glance 33 on one PostgreSQL.

One client asks, its next question as soon as one is answered: what is told are times of answers.
"""

from __future__ import annotations

import asyncio
import json
import random
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat

from bench.bars import BARS
from bench.catalogs import CPU, GLANCE, P50, POSTGRES_CPU, Side, catalogs, compared
from bench.images import MIB
from bench.load import WrongAnswerError
from bench.load.calls import SECONDS_MAX, Call, Caller
from bench.population import OWN, Population, fill
from bench.scenario import Options, Report, Scenario, Table
from bench.server import SERVER_CORE, pinned
from bench.sides import OURS, Sides

COUNT = 100_000
COUNT_QUICK = 2_000
SECONDS = 0.3  # of each question in each round; at least one is asked
ROUNDS = 3
# So that both databases are in its memory, as those of an operator with as many images are.
SETTINGS = {"shared_buffers": "1GB"}
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class _Question:
    """A list of images, or an image."""

    title: str
    query: str = ""
    admin: bool = False  # who asks
    image: str = ""

    @property
    def path(self) -> str:
        """Return what is asked for, below /v2."""
        if self.image:
            return f"/images/{self.image}"
        return f"/images?{self.query}" + ("" if "limit=" in self.query else "&limit=25")

    def calls(self, side: Side, _pick: random.Random) -> Iterator[Call]:
        """Ask again and again."""
        return repeat(self.caller(side).call("GET", self.path, 200))

    def caller(self, side: Side) -> Caller:
        """Return who asks."""
        return replace(side.caller, token=side.admin) if self.admin else side.caller


def run(options: Options) -> Report:
    """Ask as a member of a project with one image in fifty, and as an administrator."""
    # The command line says where it is, and only who measures on PostgreSQL needs it.
    from harness.postgres import running_postgres  # noqa: PLC0415

    count = COUNT_QUICK if options.quick else COUNT
    with ExitStack() as stack:
        with pinned(SERVER_CORE):
            postgres = stack.enter_context(running_postgres(settings=SETTINGS))
        sides = stack.enter_context(catalogs(options.directory, postgres=postgres))
        population = Population(count, sides[0].project)
        tables = population.tables()
        for side in sides:
            asyncio.run(fill(postgres.administrators_url(side.database), tables))
        found: dict[str, Sides] = {}
        for question in _questions(population):
            _require_alike(question, sides)
            turn = partial(
                Side.turn,
                calls=question.calls,
                seconds=0.1 if options.quick else SECONDS,
                connections=1,
            )
            what = f"registry-properties, {question.title}"
            found[question.title] = compared(what, sides, turn, options)
        memory = _memory(sides)
    least = min(found, key=lambda title: found[title].ratio(P50, GLANCE, OURS).median)
    thrown = sum(each.rounds.thrown_away for each in found.values())
    return Report(
        [_times(found, f"{count:,} images, medians of {options.rounds} rounds"), memory],
        [f"{thrown} rounds were thrown away for steal, and repeated"],
        [BARS["registry-properties"].judge(found[least].ratio(P50, GLANCE, OURS), least)],
        {title: each.plain() for title, each in found.items()},
    )


def _questions(population: Population) -> Iterator[_Question]:
    """Give the member's questions, then the administrator's."""
    names = ",".join(f"image-{number}" for number in range(0, 4 * OWN, OWN))
    middle, old = (f"marker={population.own(share)}" for share in (0.5, 0.1))
    common = {
        "first page": "",
        "page of 1,000": "limit=1000",
        "page behind a marker far down": old,
        "by name": f"name={population.name()}",
        "by one of several names": f"name=in:{names}",
        "by status and visibility": "status=active&visibility=public",
        "by a property that 10 images have": "build=needle",
        "by a property that half have": "os_type=linux",
        "by two properties": "os_type=linux&hw_firmware_type=uefi",
        "by a tag that a tenth have": "tag=series-3",
        "larger than 49 GiB": f"size_min={49 * _GIB}",
        "created before": "created_at=lt:2026-01-01T02:00:00Z",
        "by name, page in the middle": f"sort=name:asc&{middle}",
        "by size, the largest": "status=active&sort=size:desc",
        "by format and name, page in the middle": f"sort=disk_format:asc,name:desc&{middle}",
        "by a property that none has": "os_distro=plan9",
    }
    own = {
        "shared with the project": "visibility=shared&member_status=all",
        "those of its own": f"owner={population.project}",
    }
    image = population.own(0.5)
    for title, query in {**common, **own}.items():
        yield _Question(title, query)
    yield _Question("one image", image=image)
    for title, query in common.items():
        yield _Question(f"{title}, administrator", query, admin=True)


def _require_alike(question: _Question, sides: Sequence[Side]) -> None:
    """Ask both once, and compare which images they name; `WrongAnswerError` if they differ."""
    named = [_named(question, side) for side in sides]
    if named[0] != named[1]:
        raise WrongAnswerError(f"{question.path}: {named[0]} here, {named[1]} there")


def _named(question: _Question, side: Side) -> list[str]:
    request = urllib.request.Request(
        f"{side.server.url}/v2{question.path}",
        headers={"X-Auth-Token": question.caller(side).token},
    )
    with urllib.request.urlopen(request, timeout=SECONDS_MAX) as answer:
        found = json.load(answer)
    return [image["id"] for image in found.get("images", [found])]


def _times(found: Mapping[str, Sides], title: str) -> Table:
    """Return a row for each question."""
    table = Table(
        f"{title}; ratio: p50, Glance / ours",
        (
            *("question", "p50 ms", "Glance's", "ratio [90 %]", CPU, POSTGRES_CPU),
            *(f"Glance's {CPU}", f"Glance's {POSTGRES_CPU}"),
        ),
    )
    for question, sides in found.items():
        ours, theirs = (
            [_rounded(sides.median(name, each)) for each in (P50, CPU, POSTGRES_CPU)]
            for name in (OURS, GLANCE)
        )
        ratio = str(sides.ratio(P50, GLANCE, OURS))
        table.add(question, ours[0], theirs[0], ratio, *ours[1:], *theirs[1:])
    return table


def _memory(sides: Sequence[Side]) -> Table:
    table = Table(
        "Memory of the services after all of that", ("server", "anonymous MiB", "peak MiB")
    )
    for name, side in zip((OURS, GLANCE), sides, strict=True):
        server = side.server
        table.add(
            name, *(_rounded(n / MIB) for n in (server.anonymous_bytes(), server.peak_bytes()))
        )
    return table


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


SCENARIO = Scenario(
    "registry-properties",
    "100,000 images with a million properties on PostgreSQL, against Glance 33",
    run,
    ROUNDS,
)
