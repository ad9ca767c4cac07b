"""Our catalog with all that it can do: three stores, all ways of import, Keystone, a proxy's cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.catalog import WITH_KEYSTONE, running_catalog
from harness.glance import IMPORT
from harness.keystone import Keystone
from harness.node import Node, running_node

# As the Glance of `harness.glance.glance_widest`.
STORES = """
[database]
connection = {database}
[DEFAULT]
enabled_backends = fast:file,slow:file,web:http
show_multiple_locations = true
enabled_import_methods = [glance-direct,web-download,copy-image,glance-download]
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {directory}/fast
[slow]
filesystem_store_datadir = {directory}/slow
[os_glance_staging_store]
filesystem_store_datadir = {directory}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {directory}/tasks
"""
# The calls about caches are answered by the proxy.
CACHING = """
[DEFAULT]
cache_api = local
[keystone]
auth_url = {keystone}
"""


@contextmanager
def running_widest(directory: Path, keystone: Keystone, database: str = "") -> Iterator[Node]:
    """Run it, with its files in `directory`; `database` is another than SQLite's."""
    values = {
        "directory": directory,
        "database": database or f"sqlite:///{directory}/registry.sqlite",
        "keystone": keystone.url,
    }
    (directory / "node").mkdir()
    with (
        running_catalog(directory, (STORES + WITH_KEYSTONE).format(**values) + IMPORT) as catalog,
        running_node(
            directory / "node", catalog.url, more=CACHING.format(keystone=keystone.url)
        ) as node,
    ):
        yield node
