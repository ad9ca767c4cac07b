"""What the data of an image is held against while it comes in."""

from __future__ import annotations

import asyncio

from registry.domain.errors import SignatureError
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.inspection.formats import FormatInspection
from registry.inspection.options import InspectionSettings
from registry.service.intake import Observer
from registry.signatures.keys import Keys
from registry.signatures.verifying import SignedData, read_signature, signed_with


class Checks:
    """Makes the observers that an operator has for the data of images."""

    def __init__(self, inspection: InspectionSettings, keys: Keys) -> None:
        self._inspection = inspection
        self._keys = keys

    async def certificate(self, identity: Identity, image: Image) -> bytes | None:
        """Return the certificate that an image is signed with, None if it is not signed.

        It takes the caller's token, and is no secret: work that is done later keeps it.
        `InvalidRequestError`, or `UnavailableError`, if it cannot be had.
        """
        certificate_id = signed_with(image.properties)
        if certificate_id is None:
            return None
        await asyncio.to_thread(read_signature, image)
        return await self._keys.certificate(identity, image.id, certificate_id)

    async def of(self, identity: Identity, image: Image) -> tuple[Observer, ...]:
        """Return observers for data of this image, whose formats are set, that a caller sends."""
        return await self.with_certificate(image, await self.certificate(identity, image))

    async def with_certificate(
        self, image: Image, certificate: bytes | None
    ) -> tuple[Observer, ...]:
        """Return observers for data of this image, signed with this certificate if it is signed.

        `InvalidRequestError` if what signs it makes no sense.
        """
        observers: list[Observer] = []
        if certificate is not None:
            observers.append(await SignedData.of(image, certificate))
        elif signed_with(image.properties) is not None:
            raise SignatureError(image.id, "its certificate is missing")
        if image.container_format == "bare" and image.disk_format:
            observers.append(FormatInspection(image.disk_format, self._inspection))
        return tuple(observers)
