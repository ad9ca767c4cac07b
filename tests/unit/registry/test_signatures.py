"""Signed images below HTTP: what is looked at, and when nobody can tell."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from backends.memory import MemoryStore
from harness.signing import Signer, signer
from registry.domain.errors import SignatureError, UnavailableError
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.image import Image
from registry.service.checks import Checks
from registry.service.images import Images
from registry.service.uploads import Upload, Uploads
from registry.signatures import keys as module
from registry.signatures.keys import Keys
from registry.signatures.options import KeySettings

DATA = bytes(range(256)) * 300
NOW = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)


@pytest.fixture(scope="module")
def who() -> Signer:
    return signer("ECC_SECP384R1")


def properties(who: Signer) -> dict[str, str]:
    return {
        "img_signature": who.signature(DATA),
        "img_signature_hash_method": "SHA-256",
        "img_signature_key_type": who.kind,
        "img_signature_certificate_uuid": "a-certificate",
    }


@pytest.fixture
def image(who: Signer) -> Image:
    return Image(id="an-image", created_at=NOW, updated_at=NOW, properties={**properties(who)})


def der(who: Signer) -> bytes:
    return load_pem_x509_certificate(who.certificate).public_bytes(Encoding.DER)


async def look(checks: Checks, image: Image, certificate: bytes | None, data: bytes) -> None:
    for observer in await checks.with_certificate(image, certificate):
        await observer.update(data[:1000])
        await observer.update(data[1000:])
        assert await observer.finish() == {}


async def test_a_certificate_that_was_kept(checks: Checks, image: Image, who: Signer) -> None:
    await look(checks, image, der(who), DATA)
    with pytest.raises(SignatureError, match="for image an-image: Signature verification failed"):
        await look(checks, image, der(who), DATA[:-1])


async def test_a_signed_image_is_not_let_through_without(checks: Checks, image: Image) -> None:
    with pytest.raises(SignatureError, match="certificate is missing"):
        await look(checks, image, None, DATA)
    unsigned = replace(image, properties={"img_signature": "x"})
    await look(checks, unsigned, None, DATA)
    assert await checks.certificate(EVERYBODY, unsigned) is None
    with pytest.raises(SignatureError, match="Invalid public key type"):
        await look(checks, image, der(signer("DSA")), DATA)


async def test_a_key_manager_that_hangs(
    keys: Keys,
    uploads: Uploads,
    images: Images,
    who: Signer,
    store: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = threading.Event()

    class Hanging:
        def get(self, context: Any, certificate_id: str) -> Any:
            del context, certificate_id
            go.wait()

    monkeypatch.setattr(keys, "_manager", Hanging())
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)

    async def body() -> AsyncIterator[bytes]:
        yield pytest.fail("the data is not asked for")

    described = {"container_format": "bare", "disk_format": "raw", **properties(who)}
    image_id = str((await images.create(EVERYBODY, described))["id"])
    try:
        with pytest.raises(UnavailableError, match="key manager does not answer"):
            await uploads.upload(EVERYBODY, image_id, Upload(None, None), body())
    finally:
        go.set()
    assert (await images.show(EVERYBODY, image_id))["status"] == "queued"
    assert store.names == frozenset()


async def test_without_anything_configured(image: Image) -> None:
    keys = Keys(KeySettings())
    try:
        # Barbican is asked for by default, and nobody has a token for it here.
        with pytest.raises(SignatureError, match="Unable to retrieve certificate with ID: a-cert"):
            await keys.certificate(EVERYBODY, image.id, "a-certificate")
    finally:
        keys.close()


def test_a_token_is_not_shown() -> None:
    assert "sesame" not in repr(Identity("p", "u", is_admin=False, token="sesame"))
