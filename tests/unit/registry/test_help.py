"""The help of every command of the catalog teaches: what it does, and an example that is right."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from inspect import iscoroutinefunction
from pkgutil import resolve_name

import pytest

from registry.cli.parser import parser


def commands(
    above: argparse.ArgumentParser, *names: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Walk through the commands, those that have commands of their own too."""
    for action in above._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield " ".join((*names, name)), below
                yield from commands(below, *names, name)


COMMANDS = dict(commands(parser()))


@pytest.mark.parametrize("name", COMMANDS)
def test_it_says_what_it_does_and_what_else_there_is_to_know(name: str) -> None:
    command = COMMANDS[name]
    assert command.description
    assert command.epilog
    for action in command._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), action.dest
    assert max(map(len, command.format_help().splitlines())) <= 110


@pytest.mark.parametrize("name", COMMANDS)
def test_its_examples_can_be_typed(name: str) -> None:
    shown = parser().epilog if name == "db" else COMMANDS[name].epilog
    lines = re.findall(r"cacheproxy-registry (--config-file \S+ [^|\n`]+)", shown or "")
    assert lines
    for line in lines:
        options = parser().parse_args(shlex.split(line.partition(" #")[0]))
        assert iscoroutinefunction(resolve_name(options.run))
    assert any(f" {name}" in line for line in lines)
