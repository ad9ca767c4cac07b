"""Several instances of the catalog, on one database and one store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.catalog import Catalog, running_catalog
from harness.catalog_database import write_database

SHARED = """
[database]
connection = sqlite:///{directory}/shared.sqlite
[glance_store]
filesystem_store_datadir = {directory}/images
"""


@contextmanager
def running_instance(directory: Path, name: str, more: str = "") -> Iterator[Catalog]:
    """Run one more instance on the database and the store that are in a directory."""
    place = directory / name
    place.mkdir()
    write_database(directory / "shared.sqlite")
    with running_catalog(place, SHARED.format(directory=directory) + more) as catalog:
        yield catalog
