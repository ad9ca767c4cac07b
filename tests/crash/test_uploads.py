"""The catalog is killed at every step of an upload: a little later nothing is left of it in any store."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException
from itertools import product
from pathlib import Path

import pytest

from harness.emptied import VisibleStore, file_store, moto_store, segmented_swift
from harness.inject.steering import Action, Moment
from harness.mortal import MortalCatalog, mortal_catalog
from harness.moto import running_moto
from harness.swift import Swift
from harness.waiting import until

DATA = bytes(range(256)) * 4096 * 12  # 12 MiB: three parts or segments
PIECE = 1 << 20
FORGOTTEN_SECONDS = 60.0  # for the janitor, on a machine with much to do

EVERYWHERE = (
    "registry.db.uploads:add_upload",
    "registry.service.uploads:Uploads.lock",
    "registry.db.uploads:begin_upload",
    "registry.service.intake:take_in",
    "registry.service.attempts:Attempt.enter",
    "registry.db.uploads:end_upload",
    "registry.db.images:add_location",
    "registry.db.manifests:set_pages",
)
STEPS = {
    "file": (
        "backends.file.newfile:NewFile.open",
        "backends.file.newfile:NewFile.write",
        "backends.file.newfile:NewFile.publish",
        "backends.file.newfile:NewFile.keep",
    ),
    "s3": (
        "backends.s3.object:S3Object.begin_parts",
        "backends.s3.object:S3Object.put_part",
        "backends.s3.object:S3Object.complete",
    ),
    "swift": (
        "backends.swift.part:Part.put",
        "backends.swift.upload:SwiftWriter.publish",
    ),
}
# After it the image is active, whether its client heard of it or not.
LAST = ("registry.service.attempts:Attempt.enter", Moment.AFTER)
BEHIND = {LAST, *(("backends.file.newfile:NewFile.keep", moment) for moment in Moment)}
SOME = {
    "file": (
        ("backends.file.newfile:NewFile.publish", Moment.AFTER),
        ("registry.db.uploads:end_upload", Moment.AFTER),
        LAST,
    ),
    "s3": (
        ("backends.s3.object:S3Object.put_part", Moment.AFTER),
        ("backends.s3.object:S3Object.complete", Moment.AFTER),
    ),
    "swift": (("backends.swift.part:Part.put", Moment.AFTER),),
}
# Of an upload that may be continued.
CONTINUED = (
    "registry.db.parts:add_part",
    "registry.db.parts:complete_part",
    "registry.service.parts:UploadParts._store_one",
    "registry.service.resumable:ResumableUploads._finish",
    "registry.service.attempts:Attempt.enter",
    "registry.db.parts:forget_parts",
    "registry.service.discards:Discards.carry_out",
)
# Then the janitor itself is killed.
JANITORS = (
    "registry.db.uploads:take_dead_upload",
    "registry.service.janitor:Janitor._clear",
    "registry.service.stores:Stores.clear",
    "registry.service.janitor:Janitor._release",
)


def steps(kind: str) -> tuple[str, ...]:
    return (*dict.fromkeys((*EVERYWHERE, *STEPS[kind], *CONTINUED, *JANITORS)),)


@pytest.fixture(scope="module")
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str | Swift | None]:
    """Run what the kind of store that is the parameter needs."""
    if request.param == "s3":
        with running_moto(tmp_path_factory.mktemp("moto")) as url:
            yield url
    else:
        yield request.getfixturevalue("swift") if request.param == "swift" else None


@pytest.fixture
def store(service: str | Swift | None, tmp_path: Path) -> VisibleStore:
    match service:
        case str():
            return moto_store(service)
        case Swift():
            return segmented_swift(service)
        case None:
            return file_store(tmp_path)


def on(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("service", kinds, indirect=True)


def begin(catalog: MortalCatalog) -> str:
    """Upload until the catalog dies."""
    image = catalog.api.create()
    pieces = (DATA[start : start + PIECE] for start in range(0, len(DATA), PIECE))
    with pytest.raises((OSError, HTTPException)):
        catalog.api.upload(image, pieces)
    assert catalog.steering.fired
    return image


def restart(catalog: MortalCatalog) -> None:
    catalog.stop()
    catalog.start()


def settled(catalog: MortalCatalog, images: list[str]) -> dict[str, str]:
    """Wait until no image is being saved; return what they are."""

    def look() -> dict[str, str]:
        found = {image: catalog.api.show(image)["status"] for image in images}
        return {} if "saving" in found.values() else found

    return until("the janitor", look, FORGOTTEN_SECONDS)


async def survive(
    catalog: MortalCatalog, store: VisibleStore, kills: list[tuple[str, Moment]]
) -> None:
    images = {}
    for step, moment in kills:
        catalog.steering.arm(step, moment, 1, Action.KILL)
        images[await asyncio.to_thread(begin, catalog)] = (step, moment)
        await asyncio.to_thread(restart, catalog)
    found = await asyncio.to_thread(settled, catalog, list(images))
    active = {image for image, status in found.items() if status == "active"}
    assert active == {image for image, kill in images.items() if kill in BEHIND}
    if store.kind != "swift":
        assert await store.names() == active
    for image in found:
        if image not in active:
            await asyncio.to_thread(catalog.api.upload, image, DATA)
        answer = await asyncio.to_thread(catalog.api.download, image)
        assert answer.expect(200).body == DATA
        await asyncio.to_thread(catalog.api.delete, image)
    assert await store.names() == set()


@pytest.mark.timeout(300)
@on("file", "s3")
async def test_killed_in_an_upload(store: VisibleStore, tmp_path: Path) -> None:
    with mortal_catalog(tmp_path, store.section, steps(store.kind)) as catalog:
        await survive(catalog, store, list(SOME[store.kind]))


@pytest.mark.long
@pytest.mark.timeout(1200)
@on("file", "s3", "swift")
async def test_killed_at_every_step(store: VisibleStore, tmp_path: Path) -> None:
    with mortal_catalog(tmp_path, store.section, steps(store.kind)) as catalog:
        await survive(catalog, store, list(product((*EVERYWHERE, *STEPS[store.kind]), Moment)))


@pytest.mark.long
@pytest.mark.timeout(600)
@on("file", "s3")
async def test_the_janitor_is_killed_too(store: VisibleStore, tmp_path: Path) -> None:
    with mortal_catalog(tmp_path, store.section, steps(store.kind)) as catalog:
        steering = catalog.steering
        for step, moment in product(JANITORS, Moment):
            steering.arm(SOME[store.kind][0][0], Moment.AFTER, 1, Action.KILL)
            image = await asyncio.to_thread(begin, catalog)
            steering.arm(step, moment, 1, Action.KILL)
            await asyncio.to_thread(restart, catalog)
            await asyncio.to_thread(until, "the second death", lambda: steering.fired, 60)
            await asyncio.to_thread(restart, catalog)
            assert await asyncio.to_thread(settled, catalog, [image]) == {image: "queued"}
            assert await store.names() == set()


def go_on(catalog: MortalCatalog, image: str) -> None:
    """Continue an upload, unless all of it is there."""
    told = catalog.api.call("HEAD", f"/{image}/upload").expect(204, 404)
    if told.status == 404:  # it was killed before it was begun
        catalog.api.upload(image, DATA)
    elif told.headers["upload-complete"] == "?0":
        offset = int(told.headers["upload-offset"])
        headers = {
            "Content-Type": "application/partial-upload",
            "Upload-Offset": str(offset),
            "Upload-Complete": "?1",
        }
        path, body = f"/{image}/upload", DATA[offset:]

        def ended() -> bool:
            answer = catalog.api.call("PATCH", path, headers=headers, body=body)
            return answer.expect(204, 409).status == 204

        until("the lease of a finisher who was killed", ended, FORGOTTEN_SECONDS)


def owed(catalog: MortalCatalog) -> set[str]:
    """Return the names of the objects that are still to be deleted."""
    with closing(sqlite3.connect(catalog.directory / "registry.sqlite")) as connection:
        places = connection.execute("SELECT value FROM discards").fetchall()
    return {place.rpartition("/")[2] for (place,) in places}


async def continue_after(
    catalog: MortalCatalog, store: VisibleStore, kills: list[tuple[str, Moment]]
) -> None:
    images = []
    headers = {"Content-Type": "application/octet-stream", "Upload-Complete": "?1"}
    for step, moment in kills:
        catalog.steering.arm(step, moment, 1, Action.KILL)
        image = catalog.api.create()
        images.append(image)
        put = functools.partial(catalog.api.call, "PUT", f"/{image}/file", headers=headers)
        with pytest.raises((OSError, HTTPException)):
            await asyncio.to_thread(put, body=DATA)
        assert catalog.steering.fired, (step, moment)
        await asyncio.to_thread(restart, catalog)
        await asyncio.to_thread(go_on, catalog, image)
        answer = await asyncio.to_thread(catalog.api.download, image)
        assert answer.expect(200).body == DATA, (step, moment)
    # What it died over deleting is owed; everything else is gone.
    assert await store.names() - owed(catalog) == set(images)


@on("file")
async def test_continued_after_a_kill(store: VisibleStore, tmp_path: Path) -> None:
    kills = [
        ("registry.db.parts:complete_part", Moment.BEFORE),
        ("registry.service.attempts:Attempt.enter", Moment.BEFORE),
    ]
    with mortal_catalog(tmp_path, store.section, steps(store.kind)) as catalog:
        await continue_after(catalog, store, kills)


@pytest.mark.long
@pytest.mark.timeout(900)
@on("file", "s3", "swift")
async def test_continued_after_every_kill(store: VisibleStore, tmp_path: Path) -> None:
    with mortal_catalog(tmp_path, store.section, steps(store.kind)) as catalog:
        await continue_after(catalog, store, list(product(CONTINUED, Moment)))


def test_every_step_exists() -> None:
    for step in {step for kind in STEPS for step in steps(kind)}:
        module, _, name = step.partition(":")
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
        assert inspect.isroutine(found), step
