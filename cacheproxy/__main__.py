"""The command line: `cacheproxy serve --config-file F`."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

from cacheproxy import logs, startchecks
from cacheproxy.config import Settings
from cacheproxy.errors import ConfigError
from cacheproxy.metrics import Meter
from cacheproxy.options import load
from cacheproxy.processes import listeners
from cacheproxy.processes.entries import Entries
from cacheproxy.processes.past import Past
from cacheproxy.processes.supervisor import Supervisor
from cacheproxy.reloading import reread

DEFAULT_FILE = Path("/etc/cacheproxy/cacheproxy.conf")

_DESCRIPTION = """\
A Glance endpoint for one compute node: it answers image downloads from a verified cache on this
node's disk, asks the real Glance whether the caller may have them, and passes everything else on.
"""

_EPILOG = f"""\
Start it with the least that it needs, the Glance behind it:

  printf '[upstream]\\nurl = http://glance.example:9292\\n' > cacheproxy.conf
  cacheproxy serve --config-file cacheproxy.conf

Try it:

  curl -H "X-Auth-Token: $TOKEN" -O http://127.0.0.1:9292/v2/images/$IMAGE/file
  curl http://127.0.0.1:9293/metrics

Have Nova use it (nova.conf on the same node):

  [glance]
  endpoint_override = http://127.0.0.1:9292

Several files are merged, later ones over earlier ones; without --config-file it is
{DEFAULT_FILE}.  docs/cacheproxy.conf.sample explains every option.
SIGHUP reads the files again: the size of the cache and the share of a project change at once.
Stop it with Ctrl-C or SIGTERM: responses in progress are finished; a second one breaks them off.
"""

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of these arguments; the exit code (1: it cannot start, and has said why)."""
    arguments = _parser().parse_args(argv)
    logs.to_stderr("cacheproxy")
    try:
        return serve(arguments.config_file or [DEFAULT_FILE])
    except ConfigError as error:
        log.error("%s", error)  # noqa: TRY400  (the message says what to do)
        return 1
    except KeyboardInterrupt:  # before anything was started
        return 130


def serve(files: Sequence[Path]) -> int:
    """Serve until stopped; the exit code.  ConfigError if it cannot start."""
    settings = load(files)
    bound = listeners.bind(settings)
    try:
        if settings.cache.enabled:
            startchecks.check_directory(settings.cache.directory)
        startchecks.check_upstream(settings.upstream.url)
    except BaseException:
        for listener in bound:
            listener.sock.close()
        raise
    entries = Entries(_keeper, _worker, partial(reread, files))
    return Supervisor(settings, entries, bound).run()


# What children run is imported by them, after the fork: the supervisor stays small, and inherits no
# library's threads or state to them.


def _keeper(settings: Settings, past: Past, control: socket.socket, meter: Meter) -> int:
    from cacheproxy import app  # noqa: PLC0415  (see above)

    return app.run_keeper(settings, past, control, meter)


def _worker(settings: Settings, number: int, control: socket.socket, meter: Meter) -> int:
    from cacheproxy import app  # noqa: PLC0415  (see above)

    return app.run_worker(settings, number, control, meter)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cacheproxy",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cacheproxy {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    command = commands.add_parser(
        "serve",
        help="answer the Images API on this node until stopped",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--config-file",
        action="append",
        type=Path,
        metavar="FILE",
        help=f"options, in INI format; may be given several times (default: {DEFAULT_FILE})",
    )
    return parser


def _version() -> str:
    try:
        return metadata.version("cacheproxy")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
