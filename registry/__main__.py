"""The program `cacheproxy-registry`: command line → settings → command → exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from pkgutil import resolve_name
from typing import Any, TypeAlias

from registry.cli.parser import parser
from registry.domain.errors import RegistryError
from registry.errors import ConfigError

Command: TypeAlias = Callable[[argparse.Namespace, Any], Coroutine[Any, Any, int]]
_INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 well, 1 failed and said why, 2 wrong usage.

    `db check` and `import-glance` have one more.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser(arguments).parse_args(arguments)
    try:
        return _run(options)
    except (ConfigError, RegistryError) as error:
        sys.stderr.write(f"cacheproxy-registry: {error}\n")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    """Run what a line asks for; what that needs is imported now."""
    import uvloop  # noqa: PLC0415

    from registry.config import load_settings  # noqa: PLC0415
    from registry.logs import load_logs, log_here, logging_through_a_thread  # noqa: PLC0415

    log_here()
    command: Command = resolve_name(options.run)
    files = options.config_file
    # As the operator wants the service to; other commands are run by people, who read the terminal.
    serving = options.command == "serve"
    with logging_through_a_thread(load_logs(files)) if serving else nullcontext():
        return uvloop.run(command(options, load_settings(files)))


if __name__ == "__main__":
    sys.exit(main())
