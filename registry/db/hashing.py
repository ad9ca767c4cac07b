"""What is written down while an image is hashed.  Every function runs in its caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from registry.db.clock import moment_in
from registry.db.database import Connection
from registry.db.failures import OvertakenError
from registry.db.images import get_image
from registry.db.manifests import remove_pages
from registry.db.tables import image_locations, image_manifest_pages, images, jobs
from registry.domain.image import Image
from registry.domain.manifest import ManifestPage
from registry.domain.status import Status

HASH = "hash"  # the kind of the jobs that somebody has asked for
MANIFEST = "manifest"  # and of those of images without a manifest, for which nobody waits
_KEPT_FAILURE = "UnavailableError%"  # of a job that was given up, and may succeed another day


async def add_page(connection: Connection, image_id: str, number: int, page: ManifestPage) -> bool:
    """Write down one page of a manifest that has no name yet.

    False if the image is deleted, or its manifest has a name.
    """
    is_there = sa.select(images.c.id).where(
        images.c.id == image_id, ~images.c.deleted, images.c.os_manifest.is_(None)
    )
    if (await connection.execute(is_there.with_for_update())).first() is None:
        return False
    row = {"digest": page.digest, "chunk_digests": page.chunk_digests}
    try:
        await connection.execute(
            image_manifest_pages.insert().values(image_id=image_id, number=number, **row)
        )
    except IntegrityError:
        raise OvertakenError(f"Image {image_id} is hashed by others, too.") from None
    return True


async def clear_pages(connection: Connection, image_id: str) -> None:
    """Forget the pages of a manifest that has no name: what a named one has, stays.

    Who made them may have lost the job to another, who was faster; or gives it its name now.  So
    the record is changed with them: one of the two is overtaken.
    """
    is_nameless = (images.c.id == image_id, images.c.os_manifest.is_(None))
    changed = images.update().where(*is_nameless).values(version=images.c.version + 1)
    if (await connection.execute(changed)).rowcount:
        await remove_pages(connection, image_id)


async def note_found(
    connection: Connection, image: Image, values: Mapping[str, Any], moment: datetime | None
) -> None:
    """Note what was found of an image's data; `moment` if that is a change of its record.

    `OvertakenError`: it is not (any more) the image that was read.
    """
    changed = {} if moment is None else {"updated_at": moment}
    answer = await connection.execute(
        images.update()
        .where(images.c.id == image.id, images.c.version == image.version, ~images.c.deleted)
        .values(version=image.version + 1, **values, **changed)
    )
    if answer.rowcount != 1:
        raise OvertakenError(f"Image {image.id} is being changed by others.")


async def images_without_manifest(
    connection: Connection, longest: int, seconds: float, most: int
) -> list[Image]:
    """Return active images of up to `longest` bytes without a manifest or a job that is about that.

    One that was given up counts no more where the store did not answer, so many seconds ago.
    """
    is_about = (jobs.c.image_id == images.c.id, jobs.c.kind.in_((HASH, MANIFEST)))
    counts = sa.or_(
        jobs.c.due_at.is_not(None),
        jobs.c.given_up_at > moment_in(-seconds),
        ~sa.func.coalesce(jobs.c.reason, "").like(_KEPT_FAILURE),
    )
    question = (
        sa.select(images.c.id)
        .where(
            images.c.os_manifest.is_(None),
            images.c.status == Status.ACTIVE,
            ~images.c.deleted,
            images.c.size <= longest,
            sa.exists().where(image_locations.c.image_id == images.c.id),
            ~sa.exists().where(*is_about, counts),
        )
        .order_by(images.c.id)
        .limit(most)
    )
    ids = (await connection.execute(question)).scalars().all()
    found = [await get_image(connection, image_id) for image_id in ids]
    return [image for image in found if image is not None]


async def count_surveyed(connection: Connection) -> int:
    """Say of how many images a manifest is to be made for which nobody waits."""
    question = sa.select(sa.func.count()).select_from(jobs)
    is_owed = (jobs.c.kind == MANIFEST, jobs.c.due_at.is_not(None))
    return int((await connection.execute(question.where(*is_owed))).scalar_one())
