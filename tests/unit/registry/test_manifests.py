"""Manifests below HTTP: who may read them, and what overtakes a question."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from backends.manifest import ManifestRoot
from registry.db.database import Database
from registry.db.hashing import add_page
from registry.db.images import move_image
from registry.domain import errors
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.manifest import ManifestPage
from registry.domain.status import Status
from registry.service.downloads import Downloads
from registry.service.images import Images
from registry.service.manifests import Manifests
from registry.service.uploads import Upload, Uploads

OWNER = Identity("p1", "u1", is_admin=False)
STRANGER = Identity("p2", "u2", is_admin=False)
LATER = datetime(2027, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's times are


@pytest.fixture
def manifests(database: Database) -> Manifests:
    return Manifests(database)


@pytest.fixture
async def image_id(images: Images, uploads: Uploads) -> str:
    described = {"container_format": "bare", "disk_format": "raw", "owner": "p1"}
    created = await images.create(EVERYBODY, {**described, "visibility": "private"})

    async def body() -> AsyncIterator[bytes]:
        yield b"data"

    await uploads.upload(EVERYBODY, created["id"], Upload(None, None), body())
    return str(created["id"])


async def test_who_may_download_may_read_it(
    manifests: Manifests, downloads: Downloads, image_id: str
) -> None:
    for identity in (OWNER, EVERYBODY):
        published = await manifests.find(identity, image_id)
        assert ManifestRoot.unpack(await manifests.root(published)).shape == published.shape
        await downloads.require_right(identity, image_id)
    for question in (manifests.find, downloads.find, downloads.require_right):
        with pytest.raises(errors.NotFoundError, match="No image found"):
            await question(STRANGER, image_id)


async def test_a_deactivated_image(
    manifests: Manifests, downloads: Downloads, database: Database, image_id: str
) -> None:
    async with database.write() as connection:
        await move_image(connection, image_id, Status.ACTIVE, Status.DEACTIVATED, LATER)
    for question in (manifests.find, downloads.find, downloads.require_right):
        with pytest.raises(errors.ForbiddenError, match="deactivated"):
            await question(OWNER, image_id)
        await question(EVERYBODY, image_id)


async def test_a_deletion_overtakes_the_question(
    manifests: Manifests, images: Images, image_id: str
) -> None:
    published = await manifests.find(OWNER, image_id)
    await images.delete(OWNER, image_id)
    with pytest.raises(errors.NotFoundError):
        await manifests.root(published)
    with pytest.raises(errors.NotFoundError):
        await manifests.pages(published, range(1))


async def test_what_hashing_left_is_not_in_the_way_of_an_upload(
    database: Database, images: Images, uploads: Uploads, manifests: Manifests
) -> None:
    described = {"container_format": "bare", "disk_format": "raw"}
    image_id = str((await images.create(EVERYBODY, described))["id"])
    for number in range(2):
        page = ManifestPage(bytes(32), bytes(32))
        assert await database.change(add_page, image_id, number, page)

    async def body() -> AsyncIterator[bytes]:
        yield b"data"

    await uploads.upload(EVERYBODY, image_id, Upload(None, None), body())
    published = await manifests.find(EVERYBODY, image_id)
    root = ManifestRoot.unpack(await manifests.root(published))
    pages = await manifests.pages(published, range(2))
    assert (len(root.page_digests), len(pages)) == (32, 32)
    assert root.page_digests != bytes(32)
