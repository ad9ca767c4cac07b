"""Progress on a terminal, and where there is none."""

from __future__ import annotations

import io
import os

import pytest

from cacheproxy.admin.results import Phase, Progress
from cacheproxy.cli.progress import ProgressView

MIB = 1 << 20


class Screen(io.StringIO):
    """Where progress is written."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class Clock:
    """Time as a test wants it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(done: int, total: int = 100, image: str = "image", phase: Phase = "fetch") -> Progress:
    return Progress(image=image, phase=phase, done_bytes=done * MIB, total_bytes=total * MIB)


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda **_: os.terminal_size((100, 24)))


def test_a_bar_moves_on_a_terminal() -> None:
    out, clock = Screen(terminal=True), Clock()
    view = ProgressView(out, clock)
    view.show(progress(0))
    clock.now += 1
    view.show(progress(25))
    clock.now += 1
    view.show(progress(100))
    view.end()
    lines = [line.rstrip() for line in out.getvalue().split("\r")]
    assert lines == [
        "",
        "image  [--------------------]  0 %  0 B of 100.0 MiB",
        "image  [#####---------------]  25.0 %  25.0 MiB of 100.0 MiB  25.0 MiB/s, 3 s left",
        "image  [####################]  100 %  100.0 MiB of 100.0 MiB",
        "",
        "",
    ]
    assert "\n" not in out.getvalue()


def test_what_was_longer_is_wiped_out_and_nothing_wraps() -> None:
    out, clock = Screen(terminal=True), Clock()
    view = ProgressView(out, clock)
    view.show(progress(1, image="i" * 200))
    view.show(progress(1))
    first, *_, last = [line for line in out.getvalue().split("\r") if line.strip()]
    assert len(first) == 99
    assert first != last
    wiped = out.getvalue().split("\r")[2]
    assert wiped == " " * 99


def test_it_is_not_drawn_more_often_than_anybody_can_see() -> None:
    out, clock = Screen(terminal=True), Clock()
    view = ProgressView(out, clock)
    for done in range(50):
        clock.now += 0.01
        view.show(progress(done))
    assert 4 <= out.getvalue().count("\r") <= 6
    view.show(progress(100))
    assert "100 %" in out.getvalue()


def test_the_rate_is_that_of_the_last_seconds() -> None:
    out, clock = Screen(terminal=True), Clock()
    view = ProgressView(out, clock)
    for done in (0, 50, 51, 52, 53, 54, 55, 56, 57):
        view.show(progress(done))
        clock.now += 1
    assert out.getvalue().split("\r")[-1].rstrip().endswith("1.0 MiB/s, 43 s left")


def test_lines_come_now_and_then_where_there_is_no_terminal() -> None:
    out, clock = Screen(terminal=False), Clock()
    view = ProgressView(out, clock)
    for done in range(25):
        view.show(progress(done))
        clock.now += 1
    view.end()
    assert out.getvalue() == (
        "image  10.0 %  10.0 MiB of 100.0 MiB  1.0 MiB/s, 1 min 30 s left\n"
        "image  20.0 %  20.0 MiB of 100.0 MiB  1.0 MiB/s, 1 min 20 s left\n"
    )


def test_another_image_or_phase_begins_anew() -> None:
    out, clock = Screen(terminal=True), Clock()
    view = ProgressView(out, clock)
    view.show(progress(100))
    clock.now += 1
    view.show(progress(100, phase="prove"))
    clock.now += 1
    view.show(progress(0, image=""))
    shown = [line.rstrip() for line in out.getvalue().split("\r") if line.strip()]
    assert shown[1].endswith("100.0 MiB of 100.0 MiB  proving")
    assert shown[2] == "all chunks  [--------------------]  0 %  0 B of 100.0 MiB"
