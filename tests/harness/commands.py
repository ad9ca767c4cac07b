"""The command line as operators run it, against a running node."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.program import REPOSITORY

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs commands with a configuration file."""

    config_file: Path

    async def start(self, *arguments: str, token: str | None = None) -> Process:
        """Begin a command."""
        environment = {key: value for key, value in os.environ.items() if key != "OS_TOKEN"}
        environment |= {"PYTHONPATH": str(REPOSITORY)} | ({"OS_TOKEN": token} if token else {})
        command, *rest = arguments
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cacheproxy", command, "--config-file", self.config_file),
            *rest,
            cwd=self.config_file.parent,
            env=environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def end(self, *arguments: str, token: str | None = None) -> Ended:
        """Run a command to its end."""
        process = await self.start(*arguments, token=token)
        return await ended(process)

    async def run(self, *arguments: str, token: str | None = None) -> str:
        """Run a command that goes well; what it printed."""
        done = await self.end(*arguments, token=token)
        assert done.code == 0, done
        return done.out

    async def told(
        self, kind: type[T], *arguments: str, code: int = 0, token: str | None = None
    ) -> T:
        """Run a command with `--json`; its answer, which must be of this kind and nothing more."""
        done = await self.end(*arguments, "--json", token=token)
        assert done.code == code, done
        document: Any = msgspec.json.decode(done.out)
        answer = msgspec.convert(document, kind)
        assert msgspec.to_builtins(answer) == document, "a field that the kind does not have"
        return answer


async def ended(process: Process) -> Ended:
    """Wait for a command's end."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
