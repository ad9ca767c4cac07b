"""What the default eviction fetches, beside LRU, others and the optimum; see `bench.eviction`.

Made traces and the boot model; the environment's CACHEPROXY_TRACES names files of real ones (or a
directory of them), which are run as well.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from bench.eviction.boots import usual
from bench.eviction.plot import draw
from bench.eviction.simulation import SHARES, Workload, run, summary
from bench.eviction.synthetic import synthetic
from bench.eviction.traces import load
from bench.scenario import Options, Report, Scenario

TRACES = "CACHEPROXY_TRACES"
SHARES_QUICK = (0.05, 0.2, 0.5)


def measure(options: Options) -> Report:
    """Run everything at every size; in a quick run a small part of each."""
    uses, reads = (20_000, 100) if options.quick else (200_000, 2000)
    traces = [load(path) for path in _paths(os.environ.get(TRACES, ""))]
    if options.quick:
        traces = [trace.first(uses) for trace in traces]
    workloads: list[Workload] = [*traces, *usual(reads), *synthetic(uses)]
    curves = list(run(workloads, SHARES_QUICK if options.quick else SHARES))
    worst = max(max(curve.behind("adaptive")) for curve in curves)
    return Report(
        [summary(curves), *(curve.table() for curve in curves)],
        notes=[f"the default fetches at most {worst:.2f} % more than LRU"],
        plot=partial(draw, curves),
    )


def _paths(text: str) -> list[Path]:
    """Return the files of a list of files and directories, parted by colons."""
    named = [Path(each) for each in text.split(":") if each]
    return [
        path
        for each in named
        for path in (sorted(each.iterdir()) if each.is_dir() else (each,))
        if path.is_file()
    ]


SCENARIO = Scenario("eviction", "what the default eviction fetches, beside LRU and others", measure)
