"""docs/performance.md and its plots say what the results say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.bars import BARS
from bench.performance import DOCUMENT, PLOTS, document, results
from bench.plots import draw
from bench.scenario import MissingError

MACHINE = {
    "date": "2026-01-01",
    "cpu": "CPU",
    "cores": 2,
    "memory_bytes": 2 << 30,
    "kernel": "6",
    "python": "3.11.2, the distribution's",
}
ROUNDS = {"4 KiB": {"cacheproxy": [{"requests/s": 1.0}], "nginx": [{"requests/s": 2.0}]}}
REPORT = {
    "tables": [{"title": "Ranges", "columns": ["server", "rate"], "rows": [["nginx", 2.0]]}],
    "verdicts": [
        {"name": "hit-range-4k", "median": 0.5, "low": 0.4, "high": 0.6, "against": ""},
        {"name": "hit-range-64k", "median": 1.5, "low": 0.9, "high": 2, "against": "nginx"},
        {"name": "hit-range-1m", "median": 0.9, "low": 0.8, "high": 1.0, "against": ""},
    ],
    "notes": ["one round"],
    "rounds": ROUNDS,
}
TEMPLATE = """By hand.
<!-- measured: bars -->
<!-- end -->
<!-- measured: machines -->
old
<!-- end -->
Also by hand.
<!-- measured: hit-range -->
<!-- end -->
<!-- measured: mixed -->
<!-- end -->
The end."""


def write(directory: Path, name: str, scenario: str, report: Any, *, quick: bool = False) -> None:
    content = {"machine": MACHINE, "quick": quick, scenario: report}
    (directory / name).write_text(json.dumps(content))


def test_the_document_is_in_step_with_the_results() -> None:
    text = DOCUMENT.read_text()
    assert document(text, results()) == text, "run: python -m bench.performance"


def test_the_plots_are_in_step_with_the_results() -> None:
    for result in results().values():
        if result.rounds:
            plot = (PLOTS / f"{result.name}.svg").read_text()
            assert result.digest in plot, "run: python -m bench.performance"


def test_all_that_was_measured_is_put_in(tmp_path: Path) -> None:
    write(tmp_path, "hits.json", "hit-range", REPORT)
    text = document(TEMPLATE, results(tmp_path))
    lines = text.splitlines()
    assert [lines[0], lines[-1]] == ["By hand.", "The end."]
    assert "Also by hand." in lines
    assert "old" not in lines
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = {row[1]: row[2:] for row in table if row[:1] == ["`hit-range`"] and len(row) == 7}
    small, medium, large = (BARS[f"hit-range-{size}"].what for size in ("4k", "64k", "1m"))
    assert rows[small] == ["≥ 1", "0.5", "0.4 to 0.6", "", "no"]
    assert rows[medium] == ["≥ 1", "1.5", "0.9 to 2", "nginx", "yes, and the aim of 1.2"]
    assert rows[large] == ["≥ 1", "0.9", "0.8 to 1", "", "yes"]
    assert BARS["mixed"].what in text
    assert "`bench/results/hits.json`" in text
    assert "| nginx  |    2 |" in text
    assert "- one round" in lines
    assert "![hit-range: every round](performance/hit-range.svg)" in lines
    assert text.count("Not measured yet.") == 1
    assert document(text, results(tmp_path)) == text


def test_results_without_rounds_are_not_for_it(tmp_path: Path) -> None:
    write(tmp_path, "old.json", "boot", {"tables": [], "notes": []})
    (tmp_path / "curves.json").write_text('{"machine": {}, "curves": []}')
    assert results(tmp_path) == {}
    assert document(TEMPLATE, {}).count("Not measured yet.") == 3


def test_what_has_no_place_is_told(tmp_path: Path) -> None:
    write(tmp_path, "new.json", "news", REPORT)
    with pytest.raises(ValueError, match="no place for news"):
        document(TEMPLATE, results(tmp_path))


def test_a_quick_run_is_no_result(tmp_path: Path) -> None:
    write(tmp_path, "quick.json", "mixed", REPORT, quick=True)
    with pytest.raises(ValueError, match="mean nothing"):
        results(tmp_path)


def test_two_results_of_one_scenario_are_told(tmp_path: Path) -> None:
    write(tmp_path, "a.json", "mixed", REPORT)
    write(tmp_path, "b.json", "mixed", REPORT)
    with pytest.raises(ValueError, match=r"mixed is in a\.json and in b\.json"):
        results(tmp_path)


def test_without_matplotlib_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingError, match="matplotlib"):
        draw("hit-range", ROUNDS, "0123abcd", tmp_path / "plot.svg")
