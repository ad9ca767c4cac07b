"""What the command line accepts; as a program it writes docs/commands.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cacheproxy.cli.manual import DEFAULT_FILE, DESCRIPTION, EPILOG, PAGES, CommandName

WIDTH = 96
SORTS = ("cached", "image", "percent", "size")
FILTERS = ("complete", "partial", "absent", "pinned", "filling", "learning")


class _Version(argparse.Action):
    """Looks for the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from cacheproxy.version import version  # noqa: PLC0415  it reads files

        sys.stdout.write(f"cacheproxy {version()}\n")
        parser.exit()


def build() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    return _build()[0]


def _build() -> tuple[argparse.ArgumentParser, dict[CommandName, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="cacheproxy", description=DESCRIPTION, epilog=EPILOG, formatter_class=_formatter()
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers: dict[CommandName, argparse.ArgumentParser] = {}
    for name, page in PAGES.items():
        command = parsers[name] = commands.add_parser(
            name,
            help=page.summary,
            description=page.text,
            epilog=page.examples if name == "serve" else f"examples:\n{page.examples}",
            formatter_class=_formatter(),
        )
        _configuration(command)
        if name not in ("serve", "check-config"):
            _daemon(command, socket=name != "url")
    _own(parsers)
    return parser, parsers


def _formatter() -> Any:
    return partial(argparse.RawDescriptionHelpFormatter, width=WIDTH, max_help_position=28)


def _configuration(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config-file",
        action="append",
        type=Path,
        metavar="FILE",
        help=f"options, in INI format; may be given several times (default: {DEFAULT_FILE})",
    )


def _daemon(command: argparse.ArgumentParser, *, socket: bool) -> None:
    if socket:
        command.add_argument(
            "--socket",
            type=Path,
            metavar="PATH",
            help="the daemon's admin socket, instead of the configuration's",
        )
    command.add_argument("--json", action="store_true", help="print the whole answer as JSON")


def _own(parsers: dict[CommandName, argparse.ArgumentParser]) -> None:
    """Add what only one command has."""
    command = parsers["list"]
    command.add_argument("--sort", choices=SORTS, default="cached", help="(default: cached)")
    command.add_argument("--reverse", action="store_true", help="the other way round")
    command.add_argument("--only", choices=FILTERS, help="only images that are this")
    command.add_argument("--limit", type=_count, metavar="N", help="print at most so many")
    command.add_argument("--skip", type=_count, metavar="N", default=0, help="but not the first N")
    for command in (parsers["show"], parsers["pin"], parsers["unpin"], parsers["url"]):
        command.add_argument("image", metavar="IMAGE", type=_image, help="an image's id")
    for command in (parsers["evict"], parsers["prefetch"]):
        command.add_argument(
            "images", metavar="IMAGE", nargs="+", type=_image, help="an image's id"
        )
    parsers["evict"].add_argument(
        "--content", action="store_true", help="drop also what other images share with it"
    )
    command = parsers["prefetch"]
    command.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show how far it is, and end when all is there (the default)",
    )
    for command in (parsers["prefetch"], parsers["url"]):
        command.add_argument(
            "--os-token-file",
            type=Path,
            metavar="FILE",
            help="read the token from this file (default: the environment variable OS_TOKEN)",
        )
    command = parsers["url"]
    command.add_argument(
        "--lifetime", type=_count, metavar="SECONDS", help="how long it lives from now"
    )
    command.add_argument(
        "--renew", metavar="URL", help="have this URL live on, instead of signing another one"
    )
    command.add_argument(
        "--endpoint",
        metavar="URL",
        help="where the proxy answers, instead of the configuration's address",
    )
    parsers["purge"].add_argument(
        "image", metavar="IMAGE", nargs="?", type=_image, help="an image's id (default: all)"
    )
    command = parsers["verify"]
    command.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        type=_image,
        help="an image's id; without any the whole cache is read",
    )
    command.add_argument(
        "--offline", action="store_true", help="read the directory itself; no daemon may run"
    )
    command.add_argument(
        "--repair", action="store_true", help="with --offline: set damaged chunks aside"
    )


def _image(text: str) -> str:
    if not 0 < len(text) <= 255 or not all("!" <= letter <= "~" for letter in text):
        raise argparse.ArgumentTypeError("an image's id is expected")
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError("a whole number is expected")
    return int(text)


def document() -> str:
    """Return docs/commands.md."""
    _, parsers = _build()
    parts = [
        "# Commands",
        "Generated from the program: `python -m cacheproxy.cli.parser > docs/commands.md`",
        f"```text\n{build().format_help().rstrip()}\n```",
    ]
    for name, page in PAGES.items():
        parts += [f"## cacheproxy {name}", _fenced(parsers[name].format_help())]
        if page.sample:
            parts += ["It prints:", _fenced(page.sample)]
    parts.append(_SOCKET)
    return "\n\n".join(parts)


def _fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


_SOCKET = """\
## The admin socket

A program may ask by itself: the socket speaks lines of JSON, one request a connection.

```text
$ (echo '{"version": 1, "request": {"command": "show", "image": "6ea1…"}}'; sleep 1) |
      socat - UNIX-CONNECT:/var/lib/cacheproxy/admin.sock
{"event": "result", "result": {"image": "6ea1…", …}}
```

* The request is one line of at most 512 KiB; its fields are those of `cacheproxy/admin/requests.py`.
* Answers are lines with an `event`: `alive` and `progress` while it goes on, `rows` of a list, and at
  last either `result` (the same object that `--json` prints) or `error` with `code` and `message`.
* Keep your side open until then: an end of file takes the request back, and ends what it began.
* Owner and group of the daemon may connect. What changes anything is logged with user and process.
"""


def main(argv: Sequence[str] = ()) -> None:
    """Print docs/commands.md."""
    assert not argv
    sys.stdout.write(document())


if __name__ == "__main__":
    main()
