"""`python -m bench`: what it runs, and what it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import __main__ as program
from bench.bars import BARS
from bench.performance import DOCUMENT
from bench.rounds import Ratio
from bench.scenario import MissingError, Options, Report, Scenario, Table, scenarios

seen: list[Options] = []


def measure(options: Options) -> Report:
    seen.append(options)
    verdict = BARS["mixed"].judge(Ratio(1.0, 0.9, 1.1, 0.8, 1.2))
    table = Table("Something", ("what", "s"), [("x", 1.5)])
    return Report([table], ["a note"], [verdict], {"all": {"cacheproxy": [{"s": 1.5}]}})


def lack(_: Options) -> Report:
    raise MissingError("no wrk here: make bench-deps")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    made = [
        Scenario("some", "measures something", measure, rounds=9),
        Scenario("lacking", "needs something", lack),
    ]
    monkeypatch.setattr(program, "scenarios", lambda: {each.name: each for each in made})


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["list"]) == 0
    assert capsys.readouterr().out == "some     measures something\nlacking  needs something\n"


def test_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    assert program.main(["run", "some", "--json", str(result)]) == 0
    assert (seen[0].rounds, seen[0].peers, seen[0].quick) == (9, None, False)
    assert not seen[0].directory.exists(), "what a scenario wrote is removed"
    out = capsys.readouterr().out
    assert "| x    | 1.5 |" in out
    assert "bar ≤ 2: met" in out
    assert "- a note" in out
    content = json.loads(result.read_text())
    assert content["quick"] is False
    assert content["machine"]["cores"] >= 1
    assert content["some"]["rounds"] == {"all": {"cacheproxy": [{"s": 1.5}]}}
    assert content["some"]["verdicts"][0]["median"] == 1.0


def test_options(tmp_path: Path) -> None:
    arguments = ["--peers", "nginx,varnish", "--rounds", "2", "--quick"]
    assert program.main(["run", "some", *arguments, "--directory", str(tmp_path)]) == 0
    options = seen[0]
    assert (options.rounds, options.peers, options.quick) == (2, ("nginx", "varnish"), True)
    assert options.directory.parent == tmp_path


def test_what_is_missing_is_told_and_what_was_found_before_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result.json"
    assert program.main(["run", "some", "lacking", "--json", str(result)]) == 1
    assert "lacking: no wrk here: make bench-deps" in capsys.readouterr().err
    assert "some" in json.loads(result.read_text())


def test_an_unknown_scenario_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["run", "some", "other"]) == 2
    assert "no scenario 'other'; known: some, lacking" in capsys.readouterr().err
    assert not seen, "nothing is run in vain"


def test_the_document_has_places_for_scenarios_only() -> None:
    places = {
        line.split()[2] for line in DOCUMENT.read_text().splitlines() if "measured: " in line
    } - {"bars", "machines"}
    assert places <= set(scenarios())
