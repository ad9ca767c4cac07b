"""Figures as people read them: sizes, shares, durations, rates, and columns of them.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
BAR_CELLS = 20


def size(count: float) -> str:
    """Return bytes with a binary unit."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1024
        if count < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}"


def number(count: int) -> str:
    """Return a number with separators."""
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """Return a number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def chunks(count: int, disk_bytes: int | None = None) -> str:
    """Return a number of chunks, and their bytes on disk where that is told."""
    told = counted(count, "chunk")
    return told if disk_bytes is None else f"{told} ({size(disk_bytes)})"


def share(part: float, whole: float) -> str:
    """Return a share in percent; all of it only if it is all, none only if it is none."""
    if not whole:
        return "100 %"
    percent = 100 * part / whole
    if part == whole:
        return "100 %"
    return f"{min(99.9, max(0.1, percent)):.1f} %" if part else "0 %"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days:,} d {hours} h"


def bar(part: float, whole: float, cells: int = BAR_CELLS) -> str:
    """Return a bar of a fixed width; full only if it is all."""
    full = cells if part >= whole else int(cells * part / whole)
    return f"[{'#' * full}{'-' * (cells - full)}]"


def picture(cells: Sequence[float]) -> str:
    """Return which parts are there: # all, + some, . nothing of each."""
    return "".join("#" if cell == 1 else "+" if cell else "." for cell in cells)


def titled(parts: Mapping[str, Sequence[str]]) -> str:
    """Return lines, the first of each part behind its title; parts without lines are left out."""
    width = max(map(len, parts)) + 2
    lines = []
    for title, values in parts.items():
        for number_of_line, value in enumerate(values):
            lines.append(f"{'' if number_of_line else title:<{width}}{value}")
    return "\n".join(lines)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "") -> str:
    """Return aligned columns; `right` holds an `r` at the place of each that is flush right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = []
    for row in (titles, *rows):
        cells = [
            cell.rjust(width) if flush == "r" else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right.ljust(len(widths)), strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
