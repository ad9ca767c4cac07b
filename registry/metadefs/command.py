"""`db load-metadefs`, `db export-metadefs` and `db unload-metadefs`: what they do and print."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path

from registry.config import Settings
from registry.db.metadefs import clear_definitions
from registry.domain.errors import RegistryError
from registry.domain.metadefs.files import file_document
from registry.errors import ConfigError
from registry.metadefs import files
from registry.metadefs.loading import Merging, Outcome, everything, load
from registry.progress import progress
from registry.service.clock import utc_now
from registry.upkeep import opened_database


async def load_metadefs(options: argparse.Namespace, settings: Settings) -> int:
    """Load files; 1 if one of them was not, which hinders no other."""
    merging, path = _merging(options), options.path or settings.metadefs_path
    found = await asyncio.to_thread(files.found_files, path)
    counts: Counter[Outcome] = Counter()
    wrong = 0
    async with opened_database(settings) as database:
        with progress("loading", len(found), "files") as bar:
            for file in found:
                try:
                    loaded = await asyncio.to_thread(files.read, file)
                    counts[await database.change(load, loaded, merging, utc_now())] += 1
                except ConfigError as error:
                    wrong += 1
                    _complain(str(error))
                except RegistryError as error:
                    wrong += 1
                    _complain(f"{file}: {error}")
                bar.update()
    told = [f"{counts[each]} {each}" for each in Outcome if counts[each]]
    told += [f"{wrong} not loaded"] if wrong else []
    sys.stdout.write(f"namespaces: {', '.join(told)}\n")
    return 1 if wrong else 0


async def export_metadefs(options: argparse.Namespace, settings: Settings) -> int:
    """Write a file for each namespace."""
    directory: Path = options.path or settings.metadefs_path
    async with opened_database(settings) as database:
        found = await database.query(everything)
    if not await asyncio.to_thread(directory.is_dir):
        raise ConfigError(f"there is no directory {directory}: make it, or name one with --path")
    named = files.names(each.namespace.name for each in found)
    with progress("exporting", len(found), "files") as bar:
        for each, name in zip(found, named, strict=True):
            document = file_document(each.namespace, each.items)
            await asyncio.to_thread(files.write, directory / name, document)
            bar.update()
    sys.stdout.write(f"wrote {len(found)} files to {directory}\n")
    return 0


async def unload_metadefs(_options: argparse.Namespace, settings: Settings) -> int:
    """Delete all definitions."""
    async with opened_database(settings) as database:
        count = await database.change(clear_definitions)
    sys.stdout.write(f"removed {count} namespaces, and all resource types\n")
    return 0


def _merging(options: argparse.Namespace) -> Merging:
    if options.prefer_new and options.overwrite:
        raise ConfigError("--prefer-new and --overwrite exclude one another")
    if not options.merge and (options.prefer_new or options.overwrite):
        raise ConfigError("--prefer-new and --overwrite need --merge")
    if options.overwrite:
        return Merging.OVERWRITE
    if options.prefer_new:
        return Merging.PREFER_NEW
    return Merging.ADD if options.merge else Merging.LEAVE


def _complain(text: str) -> None:
    sys.stderr.write(f"cacheproxy-registry: {text}\n")
