"""Log lines: their form, and that a reader who stands still holds nobody up."""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
from collections.abc import Iterator

import pytest

from cacheproxy import logs

log = logging.getLogger("cacheproxy.test")


@pytest.fixture(autouse=True)
def former_handlers() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_lines_say_who_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr("cacheproxy")
    log.debug("not this")
    log.info("started %d", 7)
    log.warning("look")
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^[\d-]{10} [\d:,]{12} ", "", line) for line in lines] == [
        "cacheproxy: started 7",
        "cacheproxy: warning: look",
    ]


def test_a_childs_lines_are_written_by_a_thread_and_whole_at_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flush = logs.through_a_thread("cacheproxy worker 1")
    before = threading.active_count()
    for number in range(1000):
        log.info("line %d", number)
    try:
        int("why")
    except ValueError:
        log.exception("it failed")
    flush()
    assert threading.active_count() == before - 1
    text = capsys.readouterr().err
    assert len(re.findall(r"cacheproxy worker 1: line \d+\n", text)) == 1000
    assert "cacheproxy worker 1: error: it failed\nTraceback" in text
    assert "ValueError: invalid literal" in text


class Stuck(io.StringIO):
    """A standard error that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.reader = threading.Event()

    def write(self, text: str) -> int:
        self.asked.set()
        assert self.reader.wait(20)
        return super().write(text)


def test_a_log_that_nobody_reads_drops_lines_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck = Stuck()
    monkeypatch.setattr(sys, "stderr", stuck)
    monkeypatch.setattr(logs, "RECORDS_MAX", 10)
    monkeypatch.setattr(logs, "FLUSH_SECONDS", 0.1)
    flush = logs.through_a_thread("x")
    writer = next(t for t in threading.enumerate() if t.name.endswith("(_monitor)"))
    log.info("first")
    assert stuck.asked.wait(20)
    for number in range(100):
        log.info("line %d", number)
    flush()  # gives up, in a bounded time
    stuck.reader.set()
    flush()
    writer.join(20)
    assert not writer.is_alive()
    assert len(stuck.getvalue().splitlines()) == 11
