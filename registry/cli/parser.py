"""The arguments of every command, and what its help teaches.

Nothing that a command works with is imported here: a mistake in a line is told at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from registry.metadefs.arguments import add_metadef_commands

if TYPE_CHECKING:  # the class is generic to type checkers only
    _Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # it has no public name

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

SIGTERM stops the service: /healthcheck tells balancers, then it accepts nothing new and finishes what
is under way (docs/high-availability.md).
"""

_DATABASE_EPILOG = """\
The database is [database] connection of the configuration. On a server it has to exist, and be the
catalog's alone (Glance's own has tables of the same names):

    PostgreSQL  CREATE ROLE catalog LOGIN PASSWORD '...'; CREATE DATABASE catalog OWNER catalog;
                connection = postgresql://catalog:...@HOST/catalog
    MariaDB     CREATE DATABASE catalog; GRANT ALL ON catalog.* TO catalog@'%' IDENTIFIED BY '...';
                connection = mysql://catalog:...@HOST/catalog
    SQLite      connection = sqlite:////absolute/path: for one host, made by the first sync

An upgrade: install the new release, run `db sync` once, beside the instances that are running, then
restart these one by one. The release before goes on working on the newer tables, and is started on
them. A sync that was broken off is run again; docs/databases.md has the order of an upgrade.
"""

_PURGE_EPILOG = """\
The row of a deleted image keeps its id from being used again, by somebody who makes another image
under the id that a deployment trusts (OpenStack's security note OSSN-0075). A purge gives the id
free: keep rows for longer than anything may remember an id, as Glance's purge_images_table does.

    cacheproxy-registry --config-file FILE db purge --age-in-days 365

It may run beside the service, be stopped at any time, and be run again.
"""

_SERVE_EPILOG = """\
    cacheproxy-registry --config-file /etc/cacheproxy/registry.conf serve

It listens on [DEFAULT] bind_host and bind_port; docs/install-catalog.md has it behind Keystone.
Under systemd it tells when it is ready (Type=notify). SIGTERM: if a balancer asks /healthcheck, that
is 503 for drain_notice_seconds (5) first; then nothing new is accepted, and what is under way is
finished, for drain_seconds (30) at most. A second SIGTERM ends the waiting.
Lines of its log name the request that they belong to, as every answer does (X-OpenStack-Request-ID);
[DEFAULT] debug, log_file and log_dir are Glance's.
Exit code 1: it could not start, and the last line says what to change.
"""

_IMPORT_EPILOG = """\
Logs in as `openstack` does, by OS_AUTH_URL, OS_USERNAME, … or --os-…, as an administrator of all images:

    . admin-openrc
    cacheproxy-registry --config-file FILE import-glance --glance http://old:9292 --dry-run
    cacheproxy-registry --config-file FILE import-glance --glance http://old:9292 --verify

Records are taken over: ids, owners, visibility, members and their answers, tags, properties, hashes,
times, statuses, and where the data is; the data stays where it is, so the configuration must have
Glance's stores. A run can be stopped at any time, and be run again: it goes on, takes what has changed
in Glance since, and writes nothing over what was changed here. docs/install-catalog.md goes through it.

Exit code 0: all of Glance is here; 1: it was broken off, run it again; 3: some images are not here, and
the output says which and why, or --verify found differences.
"""

_SYNC_EPILOG = """\
Before the first start, and after every upgrade; instances of the release before may go on meanwhile:

    cacheproxy-registry --config-file FILE db sync

As the user that the service runs as, if the database is SQLite: the file is made as who runs it.
"""

_VERSION_EPILOG = """\
"none" is a database without tables. Which programs fit is said by the newest revision that they have.

    cacheproxy-registry --config-file FILE db version
"""

_CHECK_EPILOG = """\
For scripts of upgrades; nothing is changed.

    cacheproxy-registry --config-file FILE db check || cacheproxy-registry --config-file FILE db sync
"""

_RESTORED_EPILOG = """\
Proxies follow a feed of changes, and a restored database tells another past than they have seen:
without this, images that were deleted since the backup would come to life for some of them.

    cacheproxy-registry --config-file FILE db restored

Run it once after a restore, before the service is started again.
"""

_SCRUB_EPILOG = """\
What glance-scrubber is to Glance. The service does this by itself, every wakeup_time seconds by one of
its instances; here it is done at once. It deletes the data of images that were deleted longer than
scrub_time ago (with delayed_delete), and what a store could not delete when it was asked to.

    cacheproxy-registry --config-file FILE scrub
    cacheproxy-registry --config-file FILE scrub --restore 3f0c...

The service may be running, and need not. Data that cannot be deleted now is tried again by itself.
"""

PURGE_DAYS = 180  # Glance's default of purge_images_table
_NUMBER_MAX = 100_000
_TAKEOVER = "import-glance"


def parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return what reads this command line; `run` names who does the command, imported for it."""
    top = argparse.ArgumentParser(
        prog="cacheproxy-registry",
        description="The image catalog: an OpenStack Images API v2 service over SQL.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--config-file",
        action="append",
        type=Path,
        required=True,
        metavar="FILE",
        help="an INI file such as glance-api.conf; may be repeated, later ones count more",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serving = _add(commands, "serve", "answer requests until SIGTERM", _SERVE_EPILOG)
    serving.set_defaults(run="registry.cli.serving:serve")
    _add_takeover(
        _add(commands, _TAKEOVER, "take over the records of a running Glance", _IMPORT_EPILOG),
        arguments,
    )
    scrubbing = _add(commands, "scrub", "delete now what waits to be deleted", _SCRUB_EPILOG)
    scrubbing.add_argument(
        "--restore",
        metavar="IMAGE_ID",
        help="delete nothing, but make a deleted image active again that has its data still",
    )
    scrubbing.set_defaults(run="registry.cli.scrubbing:scrub")
    _add_database_commands(_add(commands, "db", "look after the database", _DATABASE_EPILOG))
    return top


def _add(commands: _Commands, name: str, says: str, epilog: str) -> argparse.ArgumentParser:
    """Add a command; its help says what it does, then what else there is to know, with an example."""
    return commands.add_parser(
        name,
        help=says,
        description=f"{says[0].upper()}{says[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_takeover(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument(
        "--glance", metavar="URL", help="Glance's URL, if not the one that Keystone names"
    )
    parser.add_argument(
        "--interface",
        default=os.environ.get("OS_INTERFACE", "public"),
        help="which of the URLs that Keystone names (%(default)s)",
    )
    parser.add_argument(
        "--region",
        default=os.environ.get("OS_REGION_NAME"),
        help="of which region, if there are several",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done only")
    parser.add_argument(
        "--verify", action="store_true", help="read all of Glance again at the end, and compare"
    )
    parser.set_defaults(run="registry.takeover.command:import_glance")
    if _TAKEOVER in arguments:  # keystoneauth1 takes its time, and is needed here only
        from registry.takeover.command import add_login  # noqa: PLC0415  (as it says)

        add_login(parser, arguments)


def _add_database_commands(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    sync = _add(
        *(actions, "sync", "create the tables, or bring them to this program's revision"),
        epilog=_SYNC_EPILOG,
    )
    sync.set_defaults(run="registry.cli.database:sync")
    version = _add(actions, "version", "print the revision of the database", _VERSION_EPILOG)
    version.set_defaults(run="registry.cli.database:version")
    check = _add(
        *(actions, "check", "tell whether sync has something to do: exit code 0 if not, 3 if so"),
        epilog=_CHECK_EPILOG,
    )
    check.set_defaults(run="registry.cli.database:check")
    purge = _add(
        *(actions, "purge", "remove the rows of images that were deleted long ago"),
        epilog=_PURGE_EPILOG,
    )
    purge.add_argument(
        *("--age-in-days", "--age_in_days"),
        type=_whole_number,
        default=PURGE_DAYS,
        metavar="DAYS",
        help="how long ago they were deleted, at least (%(default)s)",
    )
    purge.add_argument(
        *("--max-rows", "--max_rows"),
        type=_whole_number,
        metavar="COUNT",
        help="remove no more than so many, the oldest first (all)",
    )
    purge.set_defaults(run="registry.cli.database:purge")
    restored = _add(
        *(actions, "restored", "tell the proxies that the past has changed: a backup was restored"),
        epilog=_RESTORED_EPILOG,
    )
    restored.set_defaults(run="registry.cli.database:restored")
    add_metadef_commands(actions, _add)


def _whole_number(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _NUMBER_MAX:
        raise ValueError
    return number
