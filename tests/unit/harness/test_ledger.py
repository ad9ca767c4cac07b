"""What is held against a catalog: what was acknowledged last, and what may still come behind it."""

from __future__ import annotations

from typing import Any

import pytest

from harness import ledger
from harness.ledger import Data, Entry, Register


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give a clock whose hand is the last item."""
    hand = [1000.0]
    monkeypatch.setattr("harness.ledger.time.monotonic", lambda: hand[-1])
    return hand


def test_only_what_was_acknowledged() -> None:
    register = Register[str | None](None)
    register.acknowledge(register.attempt("a"))
    register.acknowledge(register.attempt("b"))
    assert register.possible == ["b"]
    assert register.is_sure


def test_what_has_no_answer_may_be_there() -> None:
    register = Register("a")
    register.attempt("b")
    assert register.possible == ["a", "b"]
    assert not register.is_sure


def test_what_was_refused_is_not_there() -> None:
    register = Register("a")
    register.refuse(register.attempt("b"))
    assert register.possible == ["a"]


def test_what_has_no_answer_may_come_behind_what_has_one(seconds: list[float]) -> None:
    register = Register("a")
    register.attempt("b")
    seconds.append(seconds[-1] + ledger.LATE_SECONDS - 1)
    register.acknowledge(register.attempt("c"))
    assert register.possible == ["c", "b"]
    seconds.append(seconds[-1] + 2)
    register.acknowledge(register.attempt("d"))
    assert register.possible == ["d"]


def test_an_attempt_that_was_repeated_is_sure() -> None:
    register = Register("a")
    register.attempt("b")
    register.acknowledge(register.attempt("b"))
    assert register.is_sure


DATA = Data(seed=3, size=1000)
RECORD = {
    "status": "active",
    "size": 1000,
    "os_hash_value": DATA.digest,
    "stores": "fast",
    "tags": ["x"],
    "label": "1",
}


def entry() -> Entry:
    found = Entry("id", 0, DATA, status=Register("active"))
    found.properties["label"] = Register("1")
    found.tags["x"] = Register(True)
    return found


def test_a_record_as_it_was_acknowledged() -> None:
    assert entry().differences(RECORD) == []


@pytest.mark.parametrize(
    "other",
    [
        {"status": "queued"},
        {"size": 999},
        {"os_hash_value": Data(4, 1000).digest},
        {"stores": "cheap,fast"},
        {"tags": []},
        {"label": "0"},
        {"label": None},
    ],
)
def test_a_record_that_lost_something(other: dict[str, Any]) -> None:
    assert len(entry().differences({**RECORD, **other})) == 1
