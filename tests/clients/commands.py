"""The `glance` and `openstack` commands, one after the other: their libraries take a second to load.

Each line of the input is a command, `{"program": …, "arguments": […], "environment": {…}}`; each
line of the output what it printed and how it ended, `{"code": …, "out": …, "err": …}`.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

import glanceclient.shell  # type: ignore[import-untyped]  # it has no types
import openstackclient.shell

PROGRAMS = {"glance": glanceclient.shell.main, "openstack": openstackclient.shell.main}


class Terminal(io.StringIO):
    """An input where somebody could type: from any other the clients read an image's data."""

    def isatty(self) -> bool:
        return True


def run(program: str, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run one command."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    sys.stdin = Terminal()
    written = io.BytesIO(), io.BytesIO()
    sys.stdout, sys.stderr = (io.TextIOWrapper(each, "utf-8") for each in written)
    try:
        code = PROGRAMS[program]()
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    out, err = (each.getvalue().decode("utf-8", "replace") for each in written)
    return {"code": code or 0, "out": out, "err": err}


def main() -> None:
    """Run what the input says."""
    asking, answers = sys.stdin, sys.stdout
    run("openstack", ["help", "image", "list"], {})  # loads what each one would load again
    for line in asking:
        asked = json.loads(line)
        # `openstack` keeps what it knows of a user in its classes: in a process of its own.
        child = os.fork() if asked["program"] == "openstack" else None
        if not child:
            print(json.dumps(run(**asked)), file=answers, flush=True)
        if child == 0:
            os._exit(0)
        if child:
            os.waitpid(child, 0)


main()
