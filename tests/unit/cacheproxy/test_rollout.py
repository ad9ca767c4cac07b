"""The page on rolling out is true: its configurations load, its commands and figures exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cacheproxy import metrics
from cacheproxy.cli.parser import build
from cacheproxy.meter import Metric
from cacheproxy.options import load

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs/rollout.md").read_text()
UPSTREAM = "[upstream]\nurl = http://glance.example:9292\n"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", [each for each in blocks("ini") if "nova.conf" not in each])
def test_configurations_load(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cacheproxy.conf"
    file.write_text(UPSTREAM + text.replace("[upstream]\nurl = http://glance.example:9292\n", ""))
    assert load([file]).upstream


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += re.findall(r"`(cacheproxy [^`]+)`", PAGE)
    return sorted({line for line in lines if re.match(r"cacheproxy \w", line)})


@pytest.mark.parametrize("line", commands())
def test_commands_exist(line: str) -> None:
    _, *arguments = shlex.split(line.partition(" #")[0].replace("$", ""))
    assert build().parse_args(arguments).command == arguments[0]


def test_figures_exist() -> None:
    known = {each.name for each in vars(metrics).values() if isinstance(each, Metric)}
    shown = set(re.findall(r"cacheproxy_\w+", PAGE))
    assert len(shown) > 5
    assert shown <= known


def test_files_that_it_names_are_there() -> None:
    for name in re.findall(r"(?<!/)systemd/[\w.-]+", PAGE):
        assert (REPOSITORY / name).is_file(), name
    for name in re.findall(r"\]\(([\w.-]+)\)", PAGE):
        assert (REPOSITORY / "docs" / name).is_file(), name
