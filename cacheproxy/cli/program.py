"""The program `cacheproxy`: reads the command line, runs one command, returns its exit code."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from cacheproxy.cli.parser import build
from cacheproxy.errors import ProxyError

FAILED = 1
UNREACHABLE = 3
INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of these arguments; the exit code (see `cacheproxy --help`)."""
    arguments = build().parse_args(argv)
    if arguments.command == "serve":
        from cacheproxy.cli import serve  # noqa: PLC0415  (it alone needs what a daemon needs)

        return serve.run(arguments)
    if arguments.command == "check-config":
        from cacheproxy.cli import checkconfig  # noqa: PLC0415  (no other command needs it)

        return checkconfig.run(arguments)
    try:
        code = _ask(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


def _ask(arguments: Namespace) -> int:
    """Run a command that asks the daemon; what it needs is imported now."""
    from cacheproxy.cli import changes, images, prefetch, status, url, verify  # noqa: PLC0415
    from cacheproxy.cli.client import RefusedError, UnreachableError  # noqa: PLC0415
    from cacheproxy.cli.output import failed  # noqa: PLC0415

    commands = {
        "status": status.run,
        "list": images.run_list,
        "show": images.run_show,
        "pin": changes.run_pin,
        "unpin": changes.run_pin,
        "evict": changes.run_evict,
        "prefetch": prefetch.run,
        "url": url.run,
        "verify": verify.run,
        "purge": changes.run_purge,
        "gc": changes.run_gc,
    }
    try:
        return commands[arguments.command](arguments)
    except UnreachableError as error:
        failed(arguments, "unreachable", str(error))
        return UNREACHABLE
    except RefusedError as error:
        failed(arguments, error.code, str(error))
    except ProxyError as error:
        failed(arguments, "failed", str(error))
    return FAILED
