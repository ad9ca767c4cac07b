"""The arguments of the commands, and what their help says."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LOAD_EPILOG = """\
What `glance-manage db_load_metadefs` is to Glance, and of the same files:

    cacheproxy-registry --config-file FILE db load-metadefs
    cacheproxy-registry --config-file FILE db load-metadefs --path venv/etc/glance/metadefs --merge

Each file is loaded as a whole or not at all. One that cannot be read is told, and hinders no other;
the exit code is 1 then. The service may be running.
"""
_EXPORT_EPILOG = """\
A file for each namespace, which `db load-metadefs` loads the same; files that are there are replaced.

    cacheproxy-registry --config-file FILE db export-metadefs --path /srv/metadefs
"""
_UNLOAD_EPILOG = """\
Also those that were made by the API, and protected ones. Export them first if in doubt:

    cacheproxy-registry --config-file FILE db export-metadefs --path /srv/metadefs
    cacheproxy-registry --config-file FILE db unload-metadefs
"""

DEFAULT_DIRECTORY = "/etc/glance/metadefs/"
_COMMAND = "registry.metadefs.command"
_Add = Callable[..., argparse.ArgumentParser]


def add_metadef_commands(actions: Any, add: _Add) -> None:
    """Add them to the actions of `db`."""
    loading = add(actions, "load-metadefs", "load metadata definitions from files", _LOAD_EPILOG)
    _add_path(loading, "the directory of the files, or one file")
    loading.add_argument(
        "--merge", action="store_true", help="also add what namespaces lack that are there already"
    )
    loading.add_argument(
        *("--prefer-new", "--prefer_new"),
        action="store_true",
        help="with --merge: replace what they have by what is loaded",
    )
    loading.add_argument(
        "--overwrite", action="store_true", help="with --merge: replace all of them"
    )
    loading.set_defaults(run=f"{_COMMAND}:load_metadefs")
    exporting = add(
        actions, "export-metadefs", "write metadata definitions to files", _EXPORT_EPILOG
    )
    _add_path(exporting, "the directory to write to")
    exporting.set_defaults(run=f"{_COMMAND}:export_metadefs")
    unloading = add(actions, "unload-metadefs", "delete all metadata definitions", _UNLOAD_EPILOG)
    unloading.set_defaults(run=f"{_COMMAND}:unload_metadefs")


def _add_path(parser: argparse.ArgumentParser, says: str) -> None:
    parser.add_argument(
        "--path",
        type=Path,
        metavar="DIR",
        help=f"{says} ([DEFAULT] metadata_source_path, {DEFAULT_DIRECTORY})",
    )
