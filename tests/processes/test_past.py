"""What a keeper is told of those before it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cacheproxy.processes.past import CRASH_SECONDS, Past


def exited(code: int) -> int:
    return code << 8


def test_only_the_first_is_the_first(tmp_path: Path) -> None:
    past = Past.before_any(tmp_path)
    assert past == Past(first=True, rebuild=False, device=tmp_path.stat().st_dev)
    assert past.died(exited(os.EX_TEMPFAIL), 0.0) == Past(first=False, device=past.device)
    assert Past.before_any(tmp_path / "nowhere").device is None


def test_a_damaged_index_is_made_again_until_that_is_done() -> None:
    past = Past().died(exited(os.EX_DATAERR), 0.0)
    assert past.rebuild
    past = past.died(exited(1), 1.0).died(signal.SIGKILL, 2.0)
    assert past.rebuild, "none of them has come to it"
    assert not past.serves().rebuild


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT])
def test_the_second_crash_within_a_time_is_the_indexs_fault(number: int) -> None:
    past = Past().died(number, 0.0)
    assert not past.rebuild
    late = past.serves().died(number, CRASH_SECONDS)
    assert not late.rebuild
    assert late.serves().died(number, CRASH_SECONDS + 1).rebuild
    assert past.serves().died(number, CRASH_SECONDS - 1).rebuild


def test_being_killed_says_nothing_of_the_index() -> None:
    past = Past()
    for second in range(10):
        past = past.died(signal.SIGKILL, float(second))
    assert not past.rebuild
