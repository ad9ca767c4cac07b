"""One image's record from our catalog and from Glance 33."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

from bench.bars import BARS
from bench.catalogs import COLUMNS, GLANCE, RATE, ROUNDS, Side, catalogs, compared
from bench.load.calls import Call
from bench.records import described
from bench.scenario import Options, Report, Scenario
from bench.sides import OURS

IMAGES = 100
SECONDS = 4.0
DATA = b"a small image"


def run(options: Options) -> Report:
    """Show images with data, properties and tags, at random."""
    with catalogs(options.directory) as sides:
        ids = {side.server.name: _filled(side) for side in sides}

        def calls(side: Side, pick: random.Random) -> Iterator[Call]:
            wanted = [
                side.caller.call("GET", f"/images/{each}", 200, holds=b'"active"')
                for each in ids[side.server.name]
            ]
            while True:
                yield pick.choice(wanted)

        turn = partial(Side.turn, calls=calls, seconds=0.5 if options.quick else SECONDS)
        found = compared("registry-show", sides, turn, options)
    title = f"One of {IMAGES} images, medians of {options.rounds} rounds"
    return Report(
        [found.table(title, COLUMNS, ratio=RATE)],
        [found.rounds.note()],
        [BARS["registry-show"].judge(found.ratio(RATE, OURS, GLANCE))],
        {"registry-show": found.plain()},
    )


def _filled(side: Side) -> list[str]:
    return [side.api.add(DATA, **described(number)) for number in range(IMAGES)]


SCENARIO = Scenario("registry-show", "a record of our catalog's, against Glance 33", run, ROUNDS)
