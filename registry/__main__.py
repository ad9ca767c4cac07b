"""The command line: arguments → settings → run."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import uvloop

from registry.app import renew_changes, serve, sync_database
from registry.config import load_settings, load_stores
from registry.domain.errors import RegistryError
from registry.errors import ConfigError

_EPILOG = """\
A first configuration, without authentication (options are those of glance-api.conf):

    [DEFAULT]
    bind_host = 127.0.0.1
    bind_port = 9292
    [database]
    connection = sqlite:////var/lib/cacheproxy-registry/registry.sqlite
    [glance_store]
    stores = file
    default_store = file
    filesystem_store_datadir = /var/lib/glance/images/

Then, the first command once and after every upgrade:

    cacheproxy-registry --config-file FILE db sync
    cacheproxy-registry --config-file FILE serve
    openstack --os-auth-type none --os-endpoint http://127.0.0.1:9292 image list

SIGTERM stops the service: it accepts nothing new and finishes what is under way.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cacheproxy-registry",
        description="The image catalog: an OpenStack Images API v2 service over SQL.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config-file",
        action="append",
        type=Path,
        required=True,
        metavar="FILE",
        help="an INI file such as glance-api.conf; may be repeated, later ones count more",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="answer requests until SIGTERM").set_defaults(run=_serve)
    database = commands.add_parser("db", help="look after the database")
    actions = database.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser(
        "sync", help="create the tables, or bring them to this program's version"
    ).set_defaults(run=_sync)
    actions.add_parser(
        "restored", help="after restoring a backup: tell the proxies that the past has changed"
    ).set_defaults(run=_restored)
    return parser


async def _serve(files: Sequence[Path]) -> None:
    await serve(load_settings(files), load_stores(files))


async def _sync(files: Sequence[Path]) -> None:
    state = await sync_database(load_settings(files))
    if state.is_newest:
        sys.stdout.write(f"the database is at revision {state.newest} already\n")
    else:
        was = state.current or "empty"
        sys.stdout.write(f"the database is at revision {state.newest} now (it was {was})\n")


async def _restored(files: Sequence[Path]) -> None:
    await renew_changes(load_settings(files))
    sys.stdout.write("the feed of changes begins anew; proxies will look at all their images\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 well, 1 failed and said why, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        work: Coroutine[Any, Any, None] = options.run(options.config_file)
        uvloop.run(work)
    except (ConfigError, RegistryError) as error:
        sys.stderr.write(f"cacheproxy-registry: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
