"""The records of images: one transaction for each call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from registry.db.database import Connection, Database
from registry.db.images import (
    add_image,
    delete_image,
    get_image,
    move_image,
    remove_location,
    save_image,
)
from registry.db.listing import list_images
from registry.domain import access
from registry.domain.documents import Document, image_document, images_document
from registry.domain.drafts import draft_image
from registry.domain.errors import ForbiddenError, InvalidRequestError, NotFoundError
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.limits import NAME_LENGTH_MAX, Limits
from registry.domain.listing import parse_list_query
from registry.domain.patches import apply_patch, parse_patch
from registry.domain.status import Status, require_transition
from registry.domain.validation import ImageValidator, check_text
from registry.service.clock import Clock, utc_now
from registry.service.places import Places

LOG = logging.getLogger(__name__)


class Images:
    """What callers do with records.  Documents are the API's JSON."""

    def __init__(
        self,
        database: Database,
        places: Places,
        validator: ImageValidator,
        limits: Limits,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._stores = places.stores
        self._places = places
        self._validator = validator
        self._limits = limits
        self._clock = clock

    @property
    def stores(self) -> tuple[str, ...]:
        """The stores that clients may name."""
        return self._stores.names

    async def create(self, identity: Identity, body: Any) -> Document:
        """Register an image, without data."""
        now = self._clock()
        blank = Image(id=str(uuid4()), created_at=now, updated_at=now)
        image = draft_image(blank, body, identity, self._validator, self._limits)
        async with self._database.write() as connection:
            await add_image(connection, image)
        return self._document(image)

    async def show(self, identity: Identity, image_id: str) -> Document:
        """Return one image."""
        async with self._database.read() as connection:
            image = await get_image(connection, image_id)
        return self._document(access.require_shown(identity, image, image_id))

    async def list(self, identity: Identity, parameters: Sequence[tuple[str, str]]) -> Document:
        """Return a page of the images that a query string asks for."""
        query = parse_list_query(parameters, self._limits)
        access.require_listing(identity)
        async with self._database.read() as connection:
            found = await list_images(connection, query, identity)
        shown = [self._document(image) for image in found if access.is_listed(identity, image)]
        return images_document(shown, query, more=len(found) == query.limit)

    async def patch(
        self, identity: Identity, image_id: str, media_type: str, body: Any
    ) -> Document:
        """Change an image; an empty patch changes nothing, not even its time."""
        changes = parse_patch(media_type, body, self._validator)
        image = await self._change(
            identity,
            image_id,
            lambda image: apply_patch(image, changes, identity, self._limits),
            rule=None,  # it asks for the right to each change
        )
        return self._document(image)

    async def add_tag(self, identity: Identity, image_id: str, tag: str) -> None:
        """Tag an image; a tag that it has already is none too many."""
        check_text(tag)
        if not tag or len(tag) > NAME_LENGTH_MAX:
            raise InvalidRequestError(f"A tag has 1 to {NAME_LENGTH_MAX} characters.")

        def tagged(image: Image) -> Image:
            tags = tuple(sorted({*image.tags, tag}))
            if len(tags) > len(image.tags):
                self._limits.require_tags(len(tags))
            return replace(image, tags=tags)

        await self._change(identity, image_id, tagged)

    async def remove_tag(self, identity: Identity, image_id: str, tag: str) -> None:
        """Take a tag off an image."""

        def untagged(image: Image) -> Image:
            if tag not in image.tags:
                raise NotFoundError(f"Image {image_id} has no tag '{tag}'")
            return replace(image, tags=tuple(other for other in image.tags if other != tag))

        await self._change(identity, image_id, untagged)

    async def deactivate(self, identity: Identity, image_id: str) -> None:
        """Keep the data of an active image from everybody but administrators."""
        await self._switch(identity, image_id, "deactivate", Status.ACTIVE, Status.DEACTIVATED)

    async def reactivate(self, identity: Identity, image_id: str) -> None:
        """Give the data of a deactivated image to everybody again."""
        await self._switch(identity, image_id, "reactivate", Status.DEACTIVATED, Status.ACTIVE)

    async def delete(self, identity: Identity, image_id: str) -> None:
        """Delete an image and its data: the data first, for a store may refuse (in use).

        A record whose data is gone can be deleted again; data whose record is gone could not.
        """
        async with self._database.write() as connection:
            image = await self._own(connection, identity, image_id, "delete_image")
            if image.protected:
                raise ForbiddenError(f"Image {image_id} is protected and cannot be deleted.")
            require_transition(image.status, Status.DELETED)
            if not image.locations:
                await delete_image(connection, image, self._clock())
        for number, place in enumerate(image.locations, 1):
            await self._stores.discard(place)
            if number < len(image.locations):  # should the next store refuse, the record is true
                async with self._database.write() as connection:
                    await remove_location(connection, image_id, place)
        if image.locations:
            async with self._database.write() as connection:
                image = await self._own(connection, identity, image_id, "delete_image")
                await delete_image(connection, image, self._clock())
        LOG.info("deleted image %s", image_id)

    def _document(self, image: Image) -> Document:
        return image_document(image, self._places.document(image))

    async def _change(
        self,
        identity: Identity,
        image_id: str,
        effect: Callable[[Image], Image],
        rule: str | None = "modify_image",
    ) -> Image:
        """Replace an image by what `effect` makes of it, in one transaction."""
        async with self._database.write() as connection:
            image = await self._own(connection, identity, image_id, rule)
            changed = effect(image)
            if changed == image:
                return image
            changed = replace(changed, updated_at=self._clock())
            await save_image(connection, changed)
        return changed

    async def _switch(
        self, identity: Identity, image_id: str, rule: str, now: Status, then: Status
    ) -> None:
        """Bring an image from one of two statuses to the other, if it is not there already."""
        async with self._database.write() as connection:
            image = await self._own(connection, identity, image_id, rule)
            if image.status is then:
                return
            if image.status is not now:
                raise ForbiddenError(f"Not allowed to {rule} image in status '{image.status}'")
            await move_image(connection, image_id, now, then, self._clock())
        LOG.info("image %s is %s", image_id, then)

    @staticmethod
    async def _own(
        connection: Connection, identity: Identity, image_id: str, rule: str | None
    ) -> Image:
        """Return an image that the caller may change by this rule (None: may see), locked."""
        image = access.require_visible(
            identity, await get_image(connection, image_id, for_update=True), image_id
        )
        if rule is not None:
            access.require_change(identity, image, rule)
        return image
