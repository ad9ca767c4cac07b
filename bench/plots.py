"""Draws what was measured: each round a point, each side a line, its median a bar; needs the extra `bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.rounds import Figures
from bench.scenario import MissingError

_OURS, _THEIRS = "tab:blue", "tab:gray"
_WIDTH, _ROW = 4.2, 0.42  # inches: of what is drawn of one thing, of one side


def draw(
    title: str, rounds: Mapping[str, Mapping[str, Sequence[Figures]]], digest: str, path: Path
) -> None:
    """Draw the first figure and the processor's time of everything; `digest` is kept in the file (SVG)."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  optional
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise MissingError("plots need matplotlib: pip install 'cacheproxy[bench]'") from error
    shown = {what: _figures(next(iter(sides.values()))[0]) for what, sides in rounds.items()}
    columns = max(map(len, shown.values()))
    most = max(map(len, rounds.values()))
    # The same figures, the same file.
    with mpl.rc_context({"svg.hashsalt": digest, "svg.fonttype": "none"}):
        figure = Figure(
            figsize=(_WIDTH * columns, (1.1 + _ROW * most) * len(rounds)), layout="constrained"
        )
        grid = figure.subplots(len(rounds), columns, squeeze=False)
        for row, (what, sides) in zip(grid, rounds.items(), strict=True):
            for axes, name in zip(row, shown[what], strict=False):
                for place, (side, seen) in enumerate(sides.items()):
                    values = [figures[name] for figures in seen]
                    color = _OURS if side.startswith("cacheproxy") else _THEIRS
                    axes.barh(place, median(values), color=color, alpha=0.5)
                    axes.plot(values, [place] * len(values), ".", color="black", markersize=4)
                axes.set_yticks(range(len(sides)), list(sides))
                axes.invert_yaxis()
                axes.set_xlim(left=0)
                axes.set_title(f"{what}: {name}", fontsize="medium")
            for axes in row[len(shown[what]) :]:
                axes.set_axis_off()
        figure.savefig(path, metadata={"Title": title, "Description": digest, "Date": None})


def _figures(one: Figures) -> list[str]:
    """Choose: the first, which is what matters, and what it cost."""
    first = next(iter(one))
    return [first, *(name for name in one if name.startswith("CPU") and name != first)]
