"""A process that runs clients' commands, and what of their words is the same on any side."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from differential.sides import LEFT_OUT
from harness.program import REPOSITORY

SCRIPT = REPOSITORY / "tests/clients/commands.py"

_CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\.\d+)"), "TIME"),
    (re.compile(r"\breq-[0-9a-f-]{36}"), "REQUEST"),
    (re.compile(r"\bfile://[^'\"\s|]+"), "FILE"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "URL"),
)
_REFUSAL = re.compile(r"\b[45]\d\d\b")


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    def comparable(self) -> tuple[bool, Any, Any]:
        """Return what must be the same on all sides: not times, addresses, and words of refusals."""
        if self.code:
            refusal = _REFUSAL.search(self.err)
            return False, _plain(self.out), refusal and refusal[0]
        try:
            told = _without_ours(json.loads(plain_text(self.out)))
        except ValueError:
            told = _plain(self.out)
        return True, told, _plain(self.err)


def plain_text(text: str) -> str:
    """Return a text without times, addresses and ids of requests."""
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    return text


def _plain(text: str) -> list[list[str]]:
    """Return the cells of a table, or words, without spaces: long cells are broken anywhere."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        row = [cell.strip() for cell in line.split("|")]
        if len(row) > 1 and not row[1]:
            rows[-1] = ["".join(parts) for parts in zip(rows[-1], row, strict=True)]
        elif not line.startswith("+-"):
            rows.append(row)
    told = ([_sorted(plain_text(cell)).replace(" ", "") for cell in row] for row in rows)
    return [row for row in told if not set(LEFT_OUT) & set(row)]


def _sorted(cell: str) -> str:
    """Return a list of words (tags) in order: they have none."""
    if not re.match(r"\[['\"]", cell):
        return cell
    return repr(sorted(ast.literal_eval(cell)))


def _without_ours(document: Any) -> Any:
    if isinstance(document, list):
        return [_without_ours(each) for each in document]
    if isinstance(document, dict):
        return {
            name: _without_ours(sorted(each) if name == "tags" else each)
            for name, each in document.items()
            if name not in LEFT_OUT
        }
    return document


class Shell:
    """Runs commands, with a home of their own."""

    def __init__(self, process: subprocess.Popen[str], home: Path) -> None:
        self._process, self._home = process, home

    def run(self, program: str, *arguments: str, environment: Mapping[str, str]) -> Printed:
        """Run one command."""
        kept = {"HOME": str(self._home), "COLUMNS": "10000", "PYTHONWARNINGS": "ignore"}
        asked = {
            "program": program,
            "arguments": arguments,
            "environment": {**kept, **environment},
        }
        sent, received = self._process.stdin, self._process.stdout
        assert sent is not None
        assert received is not None
        sent.write(json.dumps(asked) + "\n")
        sent.flush()
        answer = received.readline()
        assert answer, f"no answer to {arguments}"
        return Printed(**json.loads(answer))


@contextmanager
def running_shell(home: Path) -> Iterator[Shell]:
    """Run one until the context is left."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Shell(process, home)
        assert process.stdin is not None
        process.stdin.close()
