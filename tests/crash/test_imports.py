"""The catalog is killed at the steps of an import: the next start goes on with it, and nothing is left."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from itertools import product
from pathlib import Path

import pytest

from harness.inject.steering import Action, Moment
from harness.mortal import MortalCatalog, mortal_catalog
from harness.waiting import until

DATA = bytes(range(256)) * 4096 * 4
STORES = """
[DEFAULT]
enabled_backends = one:file,two:file
user_storage_quota = {quota}
[glance_store]
default_backend = one
[one]
filesystem_store_datadir = {directory}/one
[two]
filesystem_store_datadir = {directory}/two
[os_glance_staging_store]
filesystem_store_datadir = {directory}/staging
"""
STEPS = (
    "registry.imports.records:ImportRecords.begin",
    "registry.imports.records:ImportRecords.begin_store",
    "registry.service.intake:Intake.take",
    "backends.file.newfile:NewFile.publish",
    "registry.imports.records:ImportRecords.arrive",
    "registry.imports.records:ImportRecords._arrive",
    "registry.imports.records:ImportRecords.succeed",
    "registry.imports.records:ImportRecords._succeed",
    "registry.imports.staging:StagingArea.clear",
)
SOME = (
    ("registry.service.intake:Intake.take", Moment.AFTER),
    ("registry.imports.records:ImportRecords.arrive", Moment.AFTER),
    ("registry.imports.records:ImportRecords.succeed", Moment.AFTER),
)
SECONDS = 90.0  # for a lease to run out and the import to be done, on a machine with much to do


def configured(directory: Path, kills: Sequence[object]) -> str:
    """Leave room for what will be there in the end, and for nothing that is counted twice."""
    return STORES.format(directory=directory, quota=len(kills) * 2 * len(DATA))


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def survive(catalog: MortalCatalog, directory: Path, kills: Sequence[tuple[str, Moment]]) -> None:
    images = []
    for step, moment in kills:
        image = catalog.api.create()
        octets = {"Content-Type": "application/octet-stream"}
        catalog.api.call("PUT", f"/{image}/stage", headers=octets, body=DATA).expect(204)
        catalog.steering.arm(step, moment, 1, Action.KILL)
        asked = {"method": {"name": "glance-direct"}, "stores": ["one", "two"]}
        with suppress(OSError, HTTPException):  # it may die before its answer has left
            catalog.api.call("POST", f"/{image}/import", document=asked).expect(202)
        until(f"{step} {moment}", lambda: catalog.program.process.poll() is not None, SECONDS)
        catalog.stop()
        catalog.start()
        images.append(image)
        until("the import", functools.partial(is_imported, catalog, image), SECONDS)
        until("what was staged to go", lambda: files(directory / "staging") == [], SECONDS)
        assert files(directory / "one") == files(directory / "two") == sorted(images)
    for image in images:
        assert catalog.api.download(image).expect(200).body == DATA
        (task,) = catalog.api.call("GET", f"/{image}/tasks").expect(200).json()["tasks"]
        assert task["status"] == "success"


def is_imported(catalog: MortalCatalog, image: str) -> bool:
    record = catalog.api.show(image)
    return record["status"] == "active" and "os_glance_import_task" not in record


@pytest.mark.timeout(400)
def test_killed_in_an_import(tmp_path: Path) -> None:
    with mortal_catalog(tmp_path, configured(tmp_path, SOME), STEPS) as catalog:
        survive(catalog, tmp_path, SOME)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_at_every_step(tmp_path: Path) -> None:
    kills = list(product(STEPS, Moment))
    with mortal_catalog(tmp_path, configured(tmp_path, kills), STEPS) as catalog:
        survive(catalog, tmp_path, kills)


def test_every_step_exists() -> None:
    for step in STEPS:
        module, _, name = step.partition(":")
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
        assert inspect.isroutine(found), step
