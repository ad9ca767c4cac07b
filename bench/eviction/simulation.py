"""Runs traces and the boot model through caches of many sizes, on all cores, and tells the result."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from bench.eviction.boots import Boots
from bench.eviction.cache import SimulatedCache
from bench.eviction.optimum import next_uses, optimum
from bench.eviction.references import arc, s3_fifo
from bench.eviction.traces import Trace, digests
from bench.scenario import Cell, Table
from cacheproxy.core.adaptive import Adaptive
from cacheproxy.core.eviction import LeastRecentlyUsed, Policy

SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8)
LATE_SHARE = 20  # policies learn of uses up to one in so many chunks late

PRODUCTION: dict[str, Callable[[int], Policy]] = {
    "lru": lambda _: LeastRecentlyUsed(),
    "adaptive": Adaptive,
}
REFERENCES: dict[str, Callable[[Sequence[int], int], int]] = {"arc": arc, "s3-fifo": s3_fifo}
Workload = Trace | tuple[str, Boots]

NAMES = (*PRODUCTION, *REFERENCES, "optimum")


@dataclass(frozen=True, slots=True)
class Curve:
    """What was missed of a workload at each size, by policy."""

    name: str
    unit: str  # of what is missed
    uses: int
    blocks: int
    sizes: tuple[int, ...]  # in blocks
    missed: dict[str, list[int]] = field(default_factory=dict)

    def behind(self, policy: str) -> list[float]:
        """Return by how many percent more than LRU is missed, for each size."""
        pairs = zip(self.missed[policy], self.missed["lru"], strict=True)
        return [100 * (missed / lru - 1) for missed, lru in pairs]

    def table(self) -> Table:
        """Show it: LRU's part of all uses, and the others against it."""
        policies = [name for name in self.missed if name != "lru"]
        table = Table(
            f"{self.name}: {self.uses:,} uses of {self.blocks:,} blocks, {self.unit}",
            ("size", "% of blocks", "lru", *(f"{name}, % more" for name in policies)),
        )
        for i, size in enumerate(self.sizes):
            lru = self.missed["lru"][i] / self.uses
            row: list[Cell] = [size, round(100 * size / self.blocks, 1), f"{lru:.4f}"]
            table.add(*row, *(round(self.behind(name)[i], 2) for name in policies))
        return table

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "uses": self.uses,
            "blocks": self.blocks,
            "sizes": list(self.sizes),
            "missed": self.missed,
        }


@dataclass(frozen=True, slots=True)
class _Work:
    """What a process needs; inherited, not sent."""

    trace: Trace
    boots: Boots | None
    names: list[bytes]
    upcoming: Sequence[int]


_work: list[_Work] = []


def run(
    workloads: Sequence[Workload],
    shares: Sequence[float] = SHARES,
    policies: Sequence[str] = NAMES,
) -> Iterator[Curve]:
    """Run each workload at each size, a share of its blocks, under each policy, `lru` always."""
    wanted = ["lru", *(name for name in policies if name != "lru")]
    for workload in workloads:
        policies, boots = wanted, None
        if isinstance(workload, Trace):
            trace = workload
        else:
            name, boots = workload
            trace = boots.trace(name)
            policies = [name for name in wanted if name not in REFERENCES]
        sizes = tuple(sorted({max(1, int(share * trace.blocks)) for share in shares}))
        unit = "misses" if boots is None else "MiB from the sources"
        curve = Curve(trace.name, unit, len(trace.uses), trace.blocks, sizes)
        upcoming = next_uses(trace.uses, trace.blocks) if "optimum" in policies else ()
        _work[:] = [_Work(trace, boots, digests(trace.blocks), upcoming)]
        cells = list(product(policies, sizes))
        with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
            for (policy, _), missed in zip(cells, pool.imap(_cell, cells), strict=True):
                curve.missed.setdefault(policy, []).append(missed)
        yield curve


def _cell(cell: tuple[str, int]) -> int:
    """In a process of its own: run one policy at one size."""
    policy, size = cell
    work = _work[0]
    if policy == "optimum":
        return optimum(work.trace.uses, work.upcoming, work.trace.blocks, size)
    if (reference := REFERENCES.get(policy)) is not None:
        return reference(work.trace.uses, size)
    late = max(1, size // LATE_SHARE)
    cache = SimulatedCache(PRODUCTION[policy](size), size, work.names, delay=late)
    return cache.run(work.trace.uses) if work.boots is None else work.boots.fetched(cache)


def summary(curves: Sequence[Curve]) -> Table:
    """Compare all policies with LRU: at the size that is worst for them, on average, at the best."""
    others = [name for name in NAMES if any(name in curve.missed for curve in curves)][1:]
    table = Table(
        "Fetched in comparison with LRU, %: at the worst size, on average, at the best",
        ("workload", *others),
    )
    for curve in curves:
        cells: list[Cell] = [curve.name]
        for name in others:
            if name not in curve.missed:
                cells.append("")
                continue
            behind = curve.behind(name)
            mean = sum(behind) / len(behind)
            cells.append(f"{max(behind):+.1f} {mean:+.1f} {min(behind):+.1f}")
        table.add(*cells)
    return table
