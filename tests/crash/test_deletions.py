"""Whoever deletes an image's data is killed, or stands still in the midst of it: another goes on.

What comes after is not deleted by one who stood still and goes on.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from contextlib import closing
from http.client import HTTPException
from pathlib import Path

import pytest

from harness.catalog import running_catalog
from harness.http import Answer, ask
from harness.images_api import ImagesApi
from harness.inject.steering import Action, Moment
from harness.mortal import QUICK, mortal_catalog
from harness.waiting import until

DATA = bytes(range(256)) * 4096
STORES = """
[DEFAULT]
enabled_backends = one:file,two:file
[glance_store]
default_backend = one
[one]
filesystem_store_datadir = {directory}/one
[two]
filesystem_store_datadir = {directory}/two
[os_glance_staging_store]
filesystem_store_datadir = {directory}/staging
"""
CARRIED_OUT = "registry.service.discards:Discards.carry_out"
BEGUN = "registry.service.stores:Stores.discard"
SECONDS = 90.0  # for a lease to run out, on a machine with much to do


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def rows(directory: Path, statement: str) -> list[tuple[object, ...]]:
    """Return what is in the database; or change it."""
    with closing(sqlite3.connect(directory / "registry.sqlite", timeout=30)) as connection:
        found = connection.execute(statement).fetchall()
        connection.commit()
        return found


@pytest.mark.parametrize("step", [CARRIED_OUT, BEGUN])
def test_killed_in_a_deletion(tmp_path: Path, step: str) -> None:
    with mortal_catalog(tmp_path, STORES.format(directory=tmp_path), [step]) as catalog:
        image = catalog.api.add(DATA)
        catalog.steering.arm(step, Moment.BEFORE, 1, Action.KILL)
        with pytest.raises((OSError, HTTPException)):
            catalog.api.delete(image)
        assert catalog.steering.fired
        catalog.stop()
        assert files(tmp_path / "one") == {image}
        catalog.start()
        catalog.api.call("GET", f"/{image}").expect(404)
        until("its data to be gone", lambda: not files(tmp_path / "one"), SECONDS)


def copy(api: ImagesApi, image: str) -> Answer:
    document = {"method": {"name": "copy-image"}, "stores": ["two"]}
    return api.call("POST", f"/{image}/import", document=document)


def in_both(api: ImagesApi, image: str) -> bool:
    shown = api.show(image)
    return shown["stores"] == "one,two" and not shown.get("os_glance_importing_to_stores")


def test_who_stood_still_deletes_nothing_that_is_new(tmp_path: Path) -> None:
    stores, place = tmp_path / "stores.conf", tmp_path / "other"
    stores.write_text(STORES.format(directory=tmp_path))
    place.mkdir()
    shared = f"[database]\nconnection = sqlite:///{tmp_path}/registry.sqlite\n"
    with mortal_catalog(tmp_path, stores.read_text(), [BEGUN]) as frozen:
        image = frozen.api.add(DATA)
        copy(frozen.api, image).expect(202)
        until("the copy", lambda: in_both(frozen.api, image), SECONDS)
        frozen.steering.arm(BEGUN, Moment.BEFORE, 1, Action.STOP)
        url = f"{frozen.url}/v2/stores/two/{image}"
        asking = threading.Thread(target=ask, args=("DELETE", url))
        asking.start()
        try:
            stopped = until("it to stand still", lambda: frozen.steering.fired)
            with running_catalog(place, shared + QUICK, stores) as catalog:
                api = ImagesApi(catalog.url)
                until("the copy to be gone", lambda: not files(tmp_path / "two"), SECONDS)
                refused = copy(api, image).expect(409)
                assert b"not deleted yet" in refused.body
                os.kill(stopped, signal.SIGCONT)
                asking.join()
                rows(tmp_path, "UPDATE discards SET due_at = '2000-01-01 00:00:00.000000'")
                until("it to be over", lambda: not rows(tmp_path, "SELECT * FROM discards"))
                copy(api, image).expect(202)
                until("the copy", lambda: in_both(api, image), SECONDS)
                assert files(tmp_path / "one") == files(tmp_path / "two") == {image}
        finally:
            os.kill(frozen.program.process.pid, signal.SIGCONT)
            asking.join()
