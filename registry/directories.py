"""The directories that the catalog writes to, looked at before it serves."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path

from backends.configuration import StoresSettings
from backends.options import FilesystemOptions, HttpOptions
from registry.errors import ConfigError

LOG = logging.getLogger(__name__)

DIRECTORY_SECONDS = 10.0  # for a file store's directories to be looked at (a hanging NFS)


async def prepare_directories(stores: StoresSettings) -> None:
    """Make the directories of the file stores, where they are missing.

    One that cannot be used does not stop the others: its store fails as it is used.  But if no
    other store takes data either, the catalog does not start.
    """
    broken: dict[str, ConfigError] = {}
    for store in stores.stores:
        if not isinstance(store.options, FilesystemOptions):
            continue
        section = store.name if stores.several else "glance_store"
        option = f"[{section}] filesystem_store_datadir"
        try:
            async with asyncio.timeout(DIRECTORY_SECONDS):
                for directory in store.options.directories:
                    await asyncio.to_thread(require_directory, directory.path, option, create=True)
        except TimeoutError:
            broken[store.name] = ConfigError(f"{option}: the file system does not answer")
        except ConfigError as error:
            broken[store.name] = error
    writable = (each for each in stores.stores if not isinstance(each.options, HttpOptions))
    if broken and all(each.name in broken for each in writable):
        raise next(iter(broken.values()))
    for name, reason in broken.items():
        LOG.error("the store %s cannot take data: %s", name, reason)


def require_directory(path: Path, option: str, *, create: bool) -> None:
    """See that files can be made in a directory."""
    try:
        if create:
            path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option}: cannot write to the directory {path} ({error.strerror}): "
            "create it, let this user write to it, or name another one"
        ) from None
