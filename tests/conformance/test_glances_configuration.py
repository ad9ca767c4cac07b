"""Our catalog with the configuration that a running Glance has, on what that Glance wrote."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.catalog import running_catalog
from harness.glance import Glance
from harness.http import ask
from harness.images import MIB, random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, Keystone
from harness.stores import Store

DATA = random_bytes(3 * MIB + 5, seed=9)

# There is no authentication yet; all else is Glance's.
OPEN = """
[paste_deploy]
flavor =
"""


@dataclass(frozen=True, slots=True)
class Both:
    """A Glance, and our catalog with its configuration, whose database is in `directory`."""

    glance: ImagesApi
    ours: ImagesApi
    directory: Path

    def take_over(self, image: str) -> str:
        """Tell the catalog of an image of Glance's, with the places that Glance noted."""
        record = self.glance.show(image)
        taken = self.ours.create()
        with closing(sqlite3.connect(self.directory / "registry.sqlite")) as database, database:
            for place in record["locations"]:
                database.execute(
                    "INSERT INTO image_locations (image_id, value, meta_data) VALUES (?, ?, ?)",
                    (taken, place["url"], json.dumps(place["metadata"])),
                )
            database.execute(
                "UPDATE images SET status = 'active', size = ?, checksum = ? WHERE id = ?",
                (record["size"], record["checksum"], taken),
            )
        return taken


@pytest.fixture(scope="module")
def both(
    stored_glance: tuple[Glance, Store], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    glance, _ = stored_glance
    directory = tmp_path_factory.mktemp("catalog-like-glance")
    configuration = glance.directory / "glance-api.conf"
    with running_catalog(directory, OPEN, configuration) as catalog:
        yield Both(ImagesApi(glance.url, glance.headers), ImagesApi(catalog.url), directory)


def test_the_same_stores(both: Both, keystone: Keystone) -> None:
    def told(api: ImagesApi, headers: dict[str, str]) -> Any:
        answer = ask("GET", f"{api.url}/v2/info/stores/detail", headers=headers)
        stores = answer.expect(200).json()["stores"]
        for store in stores:
            if store["type"] == "file":  # how much is read at once is each program's own choice
                store["properties"].pop("chunk_size")
        return stores

    theirs = told(both.glance, {"X-Auth-Token": keystone.token(ADMIN)})
    assert told(both.ours, {}) == theirs


def test_what_glance_wrote(both: Both, stored_glance: tuple[Glance, Store]) -> None:
    _, store = stored_glance
    image = both.glance.create()
    store.upload(both.glance, image, DATA)
    taken = both.take_over(image)
    shown, theirs = both.ours.show(taken), both.glance.show(image)
    assert (shown["stores"], theirs["stores"]) == (store.name, store.name)
    assert both.ours.download(taken).expect(200).body == DATA
    ranged = both.ours.download(taken, "1048570-1048585").expect(206)
    assert ranged.body == DATA[1048570:1048586]
    both.ours.delete(taken)
    both.glance.download(image).expect(204)
    both.glance.delete(image)
