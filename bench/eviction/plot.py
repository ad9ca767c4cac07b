"""Draws what was missed against the size of the cache; needs the extra `bench`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from bench.eviction.simulation import Curve
from bench.scenario import MissingError

_STYLES = {
    "lru": ("tab:gray", "-"),
    "adaptive": ("tab:blue", "-"),
    "arc": ("tab:green", ":"),
    "s3-fifo": ("tab:orange", ":"),
    "optimum": ("black", "--"),
}
_COLUMNS = 3


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw all curves into one file, whose suffix says what kind it is."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  optional
    except ImportError as error:
        raise MissingError("plots need matplotlib: pip install 'cacheproxy[bench]'") from error
    columns = min(_COLUMNS, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(5 * columns, 3.6 * rows), layout="constrained")
    for number, curve in enumerate(curves):
        axes = figure.add_subplot(rows, columns, number + 1)
        shares = [100 * size / curve.blocks for size in curve.sizes]
        for policy, missed in curve.missed.items():
            color, line = _STYLES[policy]
            ratios = [100 * each / curve.uses for each in missed]
            axes.plot(shares, ratios, line, color=color, label=policy, linewidth=1.4)
        axes.set_title(curve.name)
        axes.set_xscale("log")
        axes.set_xlabel("cache, % of all blocks")
        axes.set_ylabel(f"{curve.unit}, % of uses")
        axes.set_ylim(bottom=0)
        if not number:
            axes.legend()
    figure.savefig(path)
