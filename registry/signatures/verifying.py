"""Whether the data of an image is what somebody signed.

Four properties of an image say so: who signs has a certificate in the key manager.  Hashing and
verifying are cursive's, as in Glance.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from registry.domain.errors import InvalidRequestError, SignatureError
from registry.domain.image import Image

LOG = logging.getLogger(__name__)

SIGNATURE: Final = "img_signature"
HASH_METHOD: Final = "img_signature_hash_method"
KEY_TYPE: Final = "img_signature_key_type"
CERTIFICATE: Final = "img_signature_certificate_uuid"


def signed_with(properties: Mapping[str, str | None]) -> str | None:
    """Return the id of the certificate that an image is signed with; None if it is not signed."""
    if not {SIGNATURE, HASH_METHOD, KEY_TYPE, CERTIFICATE} <= properties.keys():
        return None
    return properties[CERTIFICATE] or ""


def unverifiable(image_id: str, reason: str) -> SignatureError:
    """Return the failure of an image whose signature cannot even be looked at, in Glance's words."""
    return SignatureError(image_id, f"Signature verification for the image failed: {reason}.")


class SignedData:
    """Sees the data of a signed image."""

    def __init__(self, image_id: str, verifier: Any) -> None:
        self._image_id = image_id
        self._verifier = verifier

    @classmethod
    async def of(cls, image: Image, certificate: bytes) -> SignedData:
        """Prepare for the data of an image that is signed with a certificate (DER).

        `InvalidRequestError` if its properties or the certificate do not make sense.
        """
        return cls(image.id, await asyncio.to_thread(_verifier, image, certificate))

    async def update(self, data: bytes) -> None:
        """Hash the next bytes, in a thread."""
        await asyncio.to_thread(self._verifier.update, data)

    async def finish(self) -> Mapping[str, object]:
        """Find nothing; `SignatureError` if this is not what was signed."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # comes with cursive

        try:
            await asyncio.to_thread(self._verifier.verify)
        except InvalidSignature:
            raise SignatureError(self._image_id, "Signature verification failed") from None
        return {}


def read_signature(image: Image) -> tuple[bytes, Any, Any]:
    """Return the signature, how the data is hashed, and the kind of key, as cursive knows them.

    Blocks: what it imports takes half a second.  `SignatureError` if cursive knows no such thing.
    """
    try:
        from cursive import exception, signature_utils  # noqa: PLC0415  # see above
    except ImportError:
        LOG.exception("cursive is not installed: pip install cacheproxy[signatures]")
        raise unverifiable(image.id, "This catalog cannot do it") from None
    properties = image.properties
    try:
        return (
            signature_utils.get_signature(properties[SIGNATURE]),
            signature_utils.get_hash_method(properties[HASH_METHOD]),
            signature_utils.SignatureKeyType.lookup(properties[KEY_TYPE]),
        )
    except exception.SignatureVerificationError as error:
        raise SignatureError(image.id, error.message) from None


def _verifier(image: Image, certificate: bytes) -> Any:
    """Return cursive's; blocks."""
    from cryptography import x509  # noqa: PLC0415  # comes with cursive

    signature, method, kind = read_signature(image)
    try:
        public_key = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
    if not isinstance(public_key, kind.public_key_type):
        reason = f"Invalid public key type for signature key type: {kind.name}"
        raise unverifiable(image.id, reason)
    verifier = kind.create_verifier(signature, method, public_key)
    if not verifier:
        raise unverifiable(image.id, "Error occurred while creating the verifier")
    return verifier
