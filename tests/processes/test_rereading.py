"""Which settings are in force after some SIGHUPs, whatever the keeper says to each, and when."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from cacheproxy.config import Settings, UpstreamSettings
from cacheproxy.processes.orders import Reload
from cacheproxy.processes.rereading import Rereading
from cacheproxy.processes.slot import Slot
from cacheproxy.reloading import reread

BEFORE = Settings(UpstreamSettings("http://glance.example"))
LIMIT = BEFORE.cache.limit_bytes


@dataclass
class FakeKeeper:
    pid: int | None = 1
    ready: bool = True
    told: list[int] = field(default_factory=list)

    def send(self, order: Reload) -> bool:
        self.told.append(order.limit_bytes)
        return True


class Case:
    def __init__(self, directory: Path) -> None:
        self.file = directory / "cacheproxy.conf"
        self.keeper = FakeKeeper()
        self.config = Rereading(BEFORE, lambda current: reread([self.file], current))

    def hup(self, limit: int) -> None:
        url = BEFORE.upstream.url
        self.file.write_text(f"[upstream]\nurl = {url}\n[cache]\nimage_cache_size = {limit}\n")
        self.config.read(cast("Slot", self.keeper))

    @property
    def limit(self) -> int:
        settings = self.config.settings
        cache = dataclasses.replace(BEFORE.cache, limit_bytes=settings.cache.limit_bytes)
        assert settings == dataclasses.replace(BEFORE, cache=cache)
        return settings.cache.limit_bytes


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_what_is_taken_is_in_force(case: Case) -> None:
    case.hup(LIMIT * 2)
    assert case.limit == LIMIT
    case.config.answered(taken=True)
    assert case.limit == LIMIT * 2
    case.hup(LIMIT * 2)
    assert case.keeper.told == [LIMIT * 2]


def test_what_is_refused_never_is_and_may_be_offered_again(case: Case) -> None:
    for _ in range(2):
        case.hup(LIMIT * 2)
        case.config.answered(taken=False)
    assert case.limit == LIMIT
    assert case.keeper.told == [LIMIT * 2] * 2


@pytest.mark.parametrize(("second", "limit"), [(True, LIMIT * 3), (False, LIMIT * 2)])
def test_each_answer_is_to_the_offer_that_it_belongs_to(
    case: Case, second: bool, limit: int
) -> None:
    case.hup(LIMIT * 2)
    case.hup(LIMIT * 3)
    case.config.answered(taken=True)
    assert case.limit == LIMIT * 2
    case.config.answered(taken=second)
    assert case.limit == limit


def test_a_change_that_is_taken_back_at_once_is_told_as_well(case: Case) -> None:
    case.hup(LIMIT * 2)
    case.hup(LIMIT)
    case.config.answered(taken=True)
    case.config.answered(taken=True)
    assert case.keeper.told == [LIMIT * 2, LIMIT]
    assert case.limit == LIMIT


def test_a_keeper_that_died_is_not_waited_for(case: Case) -> None:
    case.hup(LIMIT * 2)
    case.keeper = FakeKeeper(pid=2, ready=False)
    case.hup(LIMIT * 3)
    assert case.keeper.told == []
    case.keeper.ready = True
    case.config.offer(cast("Slot", case.keeper))
    assert case.keeper.told == [LIMIT * 3]
    case.config.answered(taken=True)
    case.config.answered(taken=True)  # of nobody
    assert case.limit == LIMIT * 3
    case.keeper = FakeKeeper(pid=None, ready=False)
    case.hup(LIMIT * 4)
    assert case.limit == LIMIT * 4  # its successor finds it
