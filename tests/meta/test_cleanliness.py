"""What reviewers should not have to look for: style, types, sleeps, and traces of a machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
WAITING = REPOSITORY / "tests/harness/waiting.py"  # waits for other processes: nothing signals
NOT_OURS = {"__pycache__", "build", "dist"}
TEXT_BYTES_MAX = 1 << 20

# Written so that this file does not match itself.
TRACES = (
    re.compile(r"(?<![\w.])/(?:work|root)/\w"),
    re.compile(r"(?<![\w.])/home/(?!glance|stack\b)\w"),
    re.compile(r"\b(?:pypi|pythonhosted|npmjs|crates)\.(?:org|com|io|net)\b"),
    re.compile(r"\b(?:deb|ftp|security|snapshot)\.debian\.org\b"),
)


def our_files(pattern: str = "*") -> Iterator[Path]:
    for path in sorted(REPOSITORY.rglob(pattern)):
        inside = path.relative_to(REPOSITORY).parts
        hidden = any(part.startswith(".") and part not in {".ci", ".gitignore"} for part in inside)
        generated = any(part in NOT_OURS or part.endswith(".egg-info") for part in inside)
        if path.is_file() and not hidden and not generated:
            yield path


def sleeps(source: str) -> list[int]:
    """Return the lines of a program that sleep; `asyncio.sleep(0)` only gives way."""
    found: list[int] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "asyncio"}:
            found += [node.lineno for alias in node.names if alias.name == "sleep"]
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        gives_way = (
            ast.unparse(node.func.value) == "asyncio"
            and len(node.args) == 1
            and isinstance(node.args[0], ast.Constant)
            and node.args[0].value == 0
        )
        if node.func.attr == "sleep" and not gives_way:
            found.append(node.lineno)
    return found


def traces(text: str) -> list[str]:
    return [match.group() for trace in TRACES for match in trace.finditer(text)]


def test_no_test_sleeps() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in our_files("*.py")
        if path.is_relative_to(REPOSITORY / "tests") and path != WAITING
        for line in sleeps(path.read_text())
    ]
    assert not found, f"tests wait for events, not for time: {found}"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import time\ntime.sleep(1)", [2]),
        ("from time import sleep", [1]),
        ("asyncio.sleep(0.1)", [1]),
        ("asyncio.sleep(delay)", [1]),
        ("asyncio.sleep(0)", []),
        ("clock.sleep(0)", [1]),
    ],
)
def test_a_sleep_is_seen(source: str, lines: list[int]) -> None:
    assert sleeps(source) == lines


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}: {trace}"
        for path in our_files()
        if path.stat().st_size <= TEXT_BYTES_MAX
        for trace in traces(path.read_text(errors="replace"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("see /" + "work/main", True),
        ("HOME=/" + "root/x", True),
        ("files.python" + "hosted.org", True),
        ("see ./work/main and a/root/x", False),
        ("/var/lib/cacheproxy", False),
    ],
)
def test_a_trace_is_seen(text: str, seen: bool) -> None:
    assert bool(traces(text)) == seen


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy", ".")],
    ids=lambda command: " ".join(command[:2]),
)
def test_linters_are_content(command: tuple[str, ...]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
