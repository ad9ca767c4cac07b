"""Records created, changed and deleted in our catalog and in Glance 33."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from uuid import UUID

from bench.bars import BARS
from bench.catalogs import COLUMNS, GLANCE, RATE, ROUNDS, Side, catalogs, compared
from bench.load.calls import PATCH, Call
from bench.records import described
from bench.scenario import Options, Report, Scenario
from bench.sides import OURS

SECONDS = 4.0


def run(options: Options) -> Report:
    """Make all three of each image in turn, each a call of its own."""
    with catalogs(options.directory) as sides:
        seconds = 0.5 if options.quick else SECONDS
        # One client: of several, Glance answers some with 500, for SQLite's file is locked.
        turn = partial(Side.turn, calls=_calls, seconds=seconds, connections=1)
        found = compared("registry-create", sides, turn, options)
    title = f"Records created, changed and deleted, medians of {options.rounds} rounds"
    return Report(
        [found.table(title, COLUMNS, ratio=RATE)],
        [found.rounds.note()],
        [BARS["registry-write"].judge(found.ratio(RATE, OURS, GLANCE))],
        {"registry-create": found.plain()},
    )


def _calls(side: Side, _pick: random.Random) -> Iterator[Call]:
    fresh = random.SystemRandom()  # an id is never used twice
    change = [
        {"op": "replace", "path": "/name", "value": "renamed"},
        {"op": "replace", "path": "/os_version", "value": "14"},
        {"op": "add", "path": "/hw_machine_type", "value": "q35"},
    ]
    while True:
        number = fresh.getrandbits(128)
        image_id = str(UUID(int=number, version=4))
        path = f"/images/{image_id}"
        document = {"id": image_id, **described(number % 1000)}
        call = side.caller.call
        yield call("POST", "/images", 201, document, holds=image_id.encode())
        yield call("PATCH", path, 200, change, PATCH, holds=b"renamed")
        yield call("DELETE", path, 204)


SCENARIO = Scenario(
    "registry-create", "records created, changed, deleted, against Glance 33", run, ROUNDS
)
