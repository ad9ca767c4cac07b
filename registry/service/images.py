"""The records of images: one transaction for each call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from registry.db.database import Connection, Database
from registry.db.failures import OvertakenError
from registry.db.images import (
    add_image,
    delete_image,
    get_image,
    move_image,
    retire_image,
    save_image,
    save_locations,
)
from registry.db.listing import list_images
from registry.domain import access
from registry.domain.documents import Document, image_document, images_document
from registry.domain.drafts import draft_image
from registry.domain.errors import ForbiddenError, InvalidRequestError, NotFoundError
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.limits import NAME_LENGTH_MAX, Limits
from registry.domain.listing import ListQuery, parse_list_query
from registry.domain.locations import UncheckedPlaceError
from registry.domain.notices import SILENT, Notifier, image_notice
from registry.domain.patches import apply_patch, parse_patch
from registry.domain.status import Status, require_delay, require_transition
from registry.domain.validation import ImageValidator, check_text
from registry.quotas.quotas import Quota, Quotas
from registry.service.clock import Clock, utc_now
from registry.service.discards import Discards
from registry.service.hashing import BackgroundHashing
from registry.service.locations import LocationBook, Locations
from registry.service.places import Places
from registry.service.records import Records

LOG = logging.getLogger(__name__)

_SWITCHES = {
    "deactivate": (Status.ACTIVE, Status.DEACTIVATED),
    "reactivate": (Status.DEACTIVATED, Status.ACTIVE),
}


class Images:
    """What callers do with records.  Documents are the API's JSON."""

    def __init__(  # noqa: PLR0913  # what it is made of; the rest by name
        self,
        database: Database,
        places: Places,
        validator: ImageValidator,
        limits: Limits,
        *,
        locations: Locations,
        discards: Discards,
        hashing: BackgroundHashing,
        clock: Clock = utc_now,
        quotas: Quotas | None = None,
        notifier: Notifier = SILENT,
        records: Records | None = None,
    ) -> None:
        self._database = database
        self._records = records or Records(database)
        self._stores = places.stores
        self._locations = locations
        self._discards = discards
        self._hashing = hashing
        self._places = places
        self._validator = validator
        self._limits = limits
        self._quotas = quotas or Quotas(database)
        self._notifier = notifier
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
        quota = await self._quotas.of(identity)

        async def add(connection: Connection) -> None:
            await quota.admit_image(connection)
            await add_image(connection, image)

        await self._database.change(add)
        self._notifier.emit("image.create", image_notice(image))
        return self._document(identity, image)

    async def show(self, identity: Identity, image_id: str) -> Document:
        """Return one image."""
        image = await self._records.get(image_id)
        return self._document(identity, access.require_shown(identity, image, image_id))

    async def list(self, identity: Identity, parameters: Sequence[tuple[str, str]]) -> Document:
        """Return a page of the images that a query string asks for."""
        query = parse_list_query(parameters, self._limits)
        access.require_listing(identity)
        found = await self._database.query(_page, identity, query)
        shown = [
            self._document(identity, image) for image in found if access.is_listed(identity, image)
        ]
        return images_document(shown, query, more=len(found) == query.limit)

    async def patch(
        self, identity: Identity, image_id: str, media_type: str, body: Any
    ) -> Document:
        """Change an image; an empty patch changes nothing, not even its time."""
        changes = parse_patch(media_type, body, self._validator)
        book = self._locations.book(identity)

        def patched(image: Image) -> Image:
            # Positions are those that clients see.
            places = () if image.status is Status.QUEUED else image.locations
            shown = replace(image, locations=self._stores.in_order(places))
            changed = apply_patch(shown, changes, identity, self._limits, book.rules)
            if changed.locations == shown.locations:
                changed = replace(changed, locations=image.locations)
            return changed

        is_about_places = any(change.name == "locations" for change in changes)
        quota = await self._quotas.of(identity) if is_about_places else None
        image = await self._patched(identity, image_id, patched, book, quota)
        if changes:
            self._tell_of_change(image)
        if is_about_places:
            await self._discards.carry_out_whole(image_id)
        return self._document(identity, image)

    async def _patched(
        self,
        identity: Identity,
        image_id: str,
        effect: Callable[[Image], Image],
        book: LocationBook,
        quota: Quota | None,
    ) -> Image:
        while True:
            try:
                return await self._discards.asking(
                    lambda connection, asked: self._patch(
                        connection, identity, image_id, effect, quota, asked
                    )
                )
            except UncheckedPlaceError as unchecked:
                await book.look(unchecked)

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

        self._tell_of_change(await self._database.change(self._replace, identity, image_id, tagged))

    async def remove_tag(self, identity: Identity, image_id: str, tag: str) -> None:
        """Take a tag off an image."""

        def untagged(image: Image) -> Image:
            if tag not in image.tags:
                raise NotFoundError(f"Image {image_id} has no tag '{tag}'")
            return replace(image, tags=tuple(other for other in image.tags if other != tag))

        self._tell_of_change(
            await self._database.change(self._replace, identity, image_id, untagged)
        )

    async def deactivate(self, identity: Identity, image_id: str) -> None:
        """Keep the data of an active image from everybody but administrators."""
        self._tell_of_change(
            await self._database.change(self._switch, identity, image_id, "deactivate")
        )
        LOG.info("image %s is deactivated", image_id)

    async def reactivate(self, identity: Identity, image_id: str) -> None:
        """Give the data of a deactivated image to everybody again."""
        self._tell_of_change(
            await self._database.change(self._switch, identity, image_id, "reactivate")
        )
        LOG.info("image %s is active again", image_id)

    async def delete(self, identity: Identity, image_id: str) -> None:
        """Delete an image and its data, unless a store says that it is in use.

        All are asked before anything is done.  Then the record goes, owing its data, and the data:
        what a store cannot delete now stays owed.
        """
        image = await self._discards.asking(
            lambda connection, asked: self._delete(connection, identity, image_id, asked)
        )
        if image.locations:
            await self._discards.carry_out_whole(image_id)
        self._notifier.emit("image.delete", image_notice(image, self._clock()))
        LOG.info("deleted image %s", image_id)

    async def _delete(
        self, connection: Connection, identity: Identity, image_id: str, asked: Collection[str]
    ) -> Image:
        image = await self._own(connection, identity, image_id, "delete_image")
        if image.protected:
            raise ForbiddenError(f"Image {image_id} is protected and cannot be deleted.")
        require_transition(image.status, Status.DELETED)
        if image.locations and self._discards.are_delayed:
            require_delay(image.status)
            await retire_image(connection, image, self._clock())
            return replace(image, status=Status.PENDING_DELETE)
        await self._discards.owe(connection, image_id, image.locations, asked)
        await delete_image(connection, image, self._clock())
        return replace(image, status=Status.DELETED)

    def _tell_of_change(self, image: Image) -> None:
        self._notifier.emit("image.update", image_notice(image))

    def _document(self, identity: Identity, image: Image) -> Document:
        return image_document(identity, image, self._places.document(identity, image))

    async def _replace(
        self,
        connection: Connection,
        identity: Identity,
        image_id: str,
        effect: Callable[[Image], Image],
    ) -> Image:
        """Replace an image by what `effect` makes of it."""
        image = await self._own(connection, identity, image_id, "modify_image")
        return await self._save(connection, image, effect(image))

    async def _patch(  # noqa: PLR0913, PLR0917  # who changes what, and what was asked before
        self,
        connection: Connection,
        identity: Identity,
        image_id: str,
        effect: Callable[[Image], Image],
        quota: Quota | None,
        asked: Collection[str],
    ) -> Image:
        """Replace an image by what `effect` makes of it, which asks for the right to each change.

        The quota is known where the places of the image's data may become more.
        """
        image = await self._own(connection, identity, image_id, None)
        changed = effect(image)
        more = len(changed.locations) - len(image.locations)
        if quota is not None and more > 0:
            await quota.admit_places(connection, more * (changed.size or 0))
        return await self._save(connection, image, changed, asked)

    async def _save(
        self,
        connection: Connection,
        image: Image,
        changed: Image,
        asked: Collection[str] = (),
    ) -> Image:
        if changed == image:
            return image
        now = self._clock()
        saved = await save_image(connection, replace(changed, updated_at=now))
        if changed.locations == image.locations:
            return saved
        return await self._save_places(connection, image, changed, now, asked)

    async def _save_places(
        self,
        connection: Connection,
        before: Image,
        after: Image,
        now: datetime,
        asked: Collection[str],
    ) -> Image:
        """Write where the data of an image is, of which the rest is written, and activate it."""
        named = {place.url for place in after.locations}
        gone = [place for place in before.locations if place.url not in named]
        await self._discards.owe(connection, before.id, gone, asked)
        if after.status is not before.status:
            told = ("size", "checksum", "os_hash_algo", "os_hash_value")
            found = {name: getattr(after, name) for name in told}
            if not await move_image(
                connection, before.id, before.status, after.status, now, **found
            ):
                raise OvertakenError(f"Image {before.id} is being changed by others.")
            await self._hashing.owe(connection, before.id)
        await save_locations(connection, after.id, after.locations)
        saved = await get_image(connection, before.id)
        assert saved is not None
        return saved

    async def _switch(
        self, connection: Connection, identity: Identity, image_id: str, rule: str
    ) -> Image:
        """Bring an image from one of two statuses to the other, if it is not there already."""
        now, then = _SWITCHES[rule]
        image = await self._own(connection, identity, image_id, rule)
        if image.status is then:
            return image
        if image.status is not now:
            raise ForbiddenError(f"Not allowed to {rule} image in status '{image.status}'")
        moment = self._clock()
        if not await move_image(connection, image_id, now, then, moment):
            raise OvertakenError(f"Image {image_id} is being changed by others.")
        return replace(image, status=then, updated_at=moment)

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


async def _page(connection: Connection, identity: Identity, query: ListQuery) -> list[Image]:
    """Return the images of one page, whatever the caller may be shown of each."""
    await _require_marker(connection, identity, query.marker)
    return await list_images(connection, query, identity)


async def _require_marker(connection: Connection, identity: Identity, marker: str | None) -> None:
    """Refuse to begin behind an image that others have and the caller may not see, as Glance does."""
    if marker is None or identity.is_admin:
        return
    image = await get_image(connection, marker)
    if image is not None and not access.is_visible(identity, image):
        raise ForbiddenError(f"Forbidding request, image {marker} not visible")
