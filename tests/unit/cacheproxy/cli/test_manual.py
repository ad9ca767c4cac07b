"""The help is true: it is the documentation, its examples parse, and it is there at once."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cacheproxy.cli.manual import DESCRIPTION, EPILOG, PAGES
from cacheproxy.cli.parser import build, document, main

REPOSITORY = Path(__file__).parents[4]
LINE_MAX = 100
TEXTS: dict[str, str] = {
    "cacheproxy": DESCRIPTION + EPILOG,
    **{name: page.text + page.examples for name, page in PAGES.items()},
}


def test_the_document_is_the_generated_one(capsys: pytest.CaptureFixture[str]) -> None:
    written = (REPOSITORY / "docs" / "commands.md").read_text()
    assert written == document(), "run: python -m cacheproxy.cli.parser > docs/commands.md"
    main()
    assert capsys.readouterr().out == written


@pytest.mark.parametrize("name", TEXTS)
def test_no_line_of_help_is_too_long(name: str) -> None:
    assert max(map(len, TEXTS[name].splitlines())) <= LINE_MAX


def examples() -> list[str]:
    """Return every command line of the texts that runs us."""
    found = []
    for text in TEXTS.values():
        for line in text.splitlines():
            if line.startswith("  "):
                found += re.findall(r"(?:^|[ ;&])(cacheproxy (?:[^|&#$]|\$\w)*)", line)
    return found


@pytest.mark.parametrize("example", sorted(set(examples())))
def test_an_example_is_a_command(example: str) -> None:
    _, *arguments = shlex.split(example.replace("$", ""))
    assert build().parse_args(arguments).command in PAGES


def test_every_command_has_an_example() -> None:
    shown = {example.split()[1] for example in examples()}
    assert shown == set(PAGES)


@pytest.mark.parametrize(
    "arguments",
    [
        "show",
        "show a b",
        "evict",
        "show ''",
        "show 'a b'",
        "list --sort name",
        "list --limit -1",
        "list --limit many",
        "prefetch --token secret image",
        "pin 'a\nb'",
    ],
)
def test_wrong_usage(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build().parse_args(shlex.split(arguments))
    assert caught.value.code == 2
    assert "usage: cacheproxy" in capsys.readouterr().err


HEAVY = ("aiohttp", "asyncio", "lmdb", "msgspec", "oslo_config", "uvloop", "cacheproxy.metrics")


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"], ["verify", "--help"]])
def test_help_imports_little(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from cacheproxy.cli.program import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("usage: cacheproxy")
    assert done.stderr == "[]\n"
