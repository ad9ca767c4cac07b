"""Quotas below HTTP: exact however many add at once, and released with what was reserved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.databases import Server
from registry.db.database import Connection, Database
from registry.db.quotas import get_reservation, get_usage, release
from registry.domain.errors import GoneError, LimitExceededError, RegistryError, UnavailableError
from registry.domain.identity import Identity
from registry.domain.quota import MIB, Resource, Usage
from registry.quotas.quotas import STEP_BYTES, Quotas
from registry.service.images import Images
from registry.service.uploads import Upload, Uploads

MEMBER = Identity("p1", "u1", is_admin=False)
DESCRIBED = {"disk_format": "raw", "container_format": "bare"}
PIECE = bytes(256 << 10)


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


@dataclass
class Given:
    """Limits as a test gives them."""

    found: dict[Resource, int] = field(default_factory=dict)
    away: bool = False

    async def limits(self, project_id: str | None) -> dict[Resource, int]:
        assert project_id == "p1"
        if self.away:
            raise UnavailableError("Keystone does not answer.")
        return self.found


@pytest.fixture
def given() -> Given:
    return Given(dict.fromkeys(Resource, -1))


async def used(database: Database) -> Usage:
    """Count all, which is what those see who count a resource by itself."""
    whole: Usage = await database.query(get_usage, "p1")
    for resource in Resource:
        usage = await database.query(get_usage, "p1", {resource})
        assert usage.counted(resource) == whole.counted(resource)
        assert sum(usage.counted(other) for other in Resource) == usage.counted(resource)
    return whole


async def body(pieces: int) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield PIECE


@dataclass
class Catalog:
    """Images and uploads that are held to the same quotas, as by one instance."""

    images: Images
    uploads: Uploads

    async def create(self) -> str:
        return str((await self.images.create(MEMBER, DESCRIBED))["id"])

    async def upload(self, image: str, pieces: int, *, known: bool) -> RegistryError | None:
        size = pieces * len(PIECE) if known else None
        try:
            await self.uploads.upload(MEMBER, image, Upload(size, None), body(pieces))
        except RegistryError as error:
            return error
        return None


@pytest.fixture
def catalog_of(images: Images, uploads: Uploads) -> Any:
    def made(quotas: Quotas) -> Catalog:
        images._quotas = uploads._quotas = quotas
        return Catalog(images, uploads)

    return made


async def test_images_are_counted_exactly(
    database: Database, given: Given, catalog_of: Any
) -> None:
    given.found[Resource.COUNT] = 7
    catalog = catalog_of(Quotas(database, source=given))
    made = await asyncio.gather(*(catalog.create() for _ in range(50)), return_exceptions=True)
    refused = [each for each in made if isinstance(each, BaseException)]
    assert {type(each) for each in refused} == {LimitExceededError}
    assert (len(refused), (await used(database)).images) == (43, 7)
    assert str(refused[0]) == (
        "Project p1 is over a limit for [Resource image_count_total is over limit of 7 due to "
        "current usage 7 and delta 1]"
    )
    await catalog.images.delete(MEMBER, next(each for each in made if isinstance(each, str)))
    await catalog.create()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("own", [True, False])
async def test_bytes_are_counted_exactly(
    database: Database,
    given: Given,
    catalog_of: Any,
    *,
    known: bool,
    own: bool,
) -> None:
    """Images of 1 MiB, of which five fit."""
    given.found[Resource.SIZE] = 5
    quotas = Quotas(database, 5 * MIB) if own else Quotas(database, source=given)
    catalog = catalog_of(quotas)
    images = [await catalog.create() for _ in range(12)]
    answers = await asyncio.gather(*(catalog.upload(image, 4, known=known) for image in images))
    refused = [image for image, answer in zip(images, answers, strict=True) if answer is not None]
    assert {type(answer) for answer in answers} == {LimitExceededError, type(None)}
    usage = await used(database)
    assert usage.uploading == 0
    # Of unknown size, several may stand in the way of each other.
    assert usage.stored == 5 * MIB if known else usage.stored <= 5 * MIB
    for image in refused:  # … but what is refused leaves nothing behind
        if await catalog.upload(image, 4, known=known) is not None:
            break
    assert (await used(database)).stored == 5 * MIB
    async with database.read() as connection:
        assert await _reservations(connection) == 0


async def _reservations(connection: Connection) -> int:
    answer = await connection.exec_driver_sql("SELECT COUNT(*) FROM quota_reservations")
    return int(answer.scalar_one())


async def test_data_of_unknown_size_is_reserved_in_steps(database: Database) -> None:
    quota = await Quotas(database, STEP_BYTES + MIB).of(MEMBER)

    async def extend(connection: Connection, needed: int) -> int:
        return await quota.extend(connection, "i", Resource.SIZE, needed)

    await database.change(quota.reserve, "i", Resource.SIZE, None)
    assert await database.change(extend, 1) == STEP_BYTES
    for needed in (2, STEP_BYTES):  # as a new meter asks, of an upload that goes on
        assert await database.change(extend, needed) == STEP_BYTES
    assert await database.change(extend, STEP_BYTES + 1) == STEP_BYTES + MIB
    with pytest.raises(LimitExceededError, match="0 bytes remaining"):
        await database.change(extend, STEP_BYTES + MIB + 1)
    assert (await used(database)).stored == STEP_BYTES + MIB


async def test_a_step_does_not_outlive_its_upload(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image is deleted between a look at what is reserved for it, and a step more."""
    quota = await Quotas(database, 100 << 20).of(MEMBER)
    await database.change(quota.reserve, "a", Resource.SIZE, None)

    async def released_behind(
        connection: Connection, image_id: str, resource: Resource
    ) -> int | None:
        found = await get_reservation(connection, image_id, resource)
        if found is not None:
            await database.change(release, image_id)
        return found

    if database.kind == "sqlite":  # one writer at a time: it comes before
        await database.change(release, "a")
    else:
        monkeypatch.setattr("registry.quotas.quotas.get_reservation", released_behind)
    with pytest.raises(GoneError):
        await database.change(quota.extend, "a", Resource.SIZE, 1)
    assert await database.query(_reservations) == 0


async def test_too_many_uploads_at_once(database: Database, given: Given, catalog_of: Any) -> None:
    given.found[Resource.UPLOADING] = 0
    catalog = catalog_of(Quotas(database, source=given))
    image = await catalog.create()
    refused = await catalog.upload(image, 1, known=True)
    assert "image_count_uploading is over limit of 0" in str(refused)
    assert (await catalog.images.show(MEMBER, image))["status"] == "queued"
    given.found[Resource.UPLOADING] = 1
    assert await catalog.upload(image, 1, known=True) is None


async def test_what_nobody_registered_is_not_to_be_had(
    database: Database, given: Given, catalog_of: Any
) -> None:
    del given.found[Resource.COUNT]
    catalog = catalog_of(Quotas(database, source=given))
    with pytest.raises(LimitExceededError, match="over limit of 0"):
        await catalog.create()
    given.away = True
    with pytest.raises(UnavailableError):
        await catalog.create()


async def test_usage(database: Database, given: Given, catalog_of: Any) -> None:
    quotas = Quotas(database, source=given)
    catalog = catalog_of(quotas)
    await catalog.create()
    await catalog.upload(await catalog.create(), 9, known=True)
    given.found[Resource.SIZE] = 10
    assert await quotas.usage(MEMBER) == {
        "image_size_total": {"usage": 2, "limit": 10},
        "image_stage_total": {"usage": 0, "limit": -1},
        "image_count_total": {"usage": 2, "limit": -1},
        "image_count_uploading": {"usage": 0, "limit": -1},
    }
    assert await Quotas(database, 5).usage(MEMBER) == {}
