"""Signed images to the real Glance and to our catalog: the real Keystone, Barbican's stand-in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.barbican import Barbican, running_barbican
from harness.catalog import WITH_KEYSTONE, running_catalog
from harness.glance import running_glance
from harness.images_api import ImagesApi
from harness.keystone import MEMBER, Keystone
from harness.signing import KINDS, METHODS, Signer, signer

DATA = bytes(range(256)) * 1000
OCTETS = {"Content-Type": "application/octet-stream", "Accept": "application/json"}
KEY_MANAGER = """
[barbican]
auth_endpoint = {keystone}
barbican_endpoint = {barbican}
"""
UNSEEN = "4e8b1f5e-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Place:
    """Both, what they ask, and who has a certificate there."""

    glance: ImagesApi
    ours: ImagesApi
    files: Path  # of our store
    barbican: Barbican
    signers: dict[str, Signer]
    ids: dict[str, str]  # of certificates, by kind of key

    def signed(self, kind: str, data: bytes = DATA, **other: str) -> dict[str, str]:
        """Return the four properties of an image with this data, some of them otherwise."""
        signed = {
            "img_signature": self.signers[kind].signature(
                data, other.get("img_signature_hash_method", "SHA-256")
            ),
            "img_signature_hash_method": "SHA-256",
            "img_signature_key_type": kind,
            "img_signature_certificate_uuid": self.ids[kind],
        }
        return {**signed, **other}


@pytest.fixture(scope="module")
def place(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("signed")
    headers = {"X-Auth-Token": keystone.token(MEMBER)}
    signers = {kind: signer(kind) for kind in KINDS}
    ids = {kind: str(uuid.uuid4()) for kind in KINDS}
    with running_barbican() as barbican:
        barbican.certificates |= {ids[kind]: signers[kind].certificate for kind in KINDS}
        more = KEY_MANAGER.format(keystone=keystone.url, barbican=barbican.url)
        with (
            running_glance(tmp_path_factory.mktemp("glance"), keystone, more) as glance,
            running_catalog(
                directory, WITH_KEYSTONE.format(keystone=keystone.url) + more
            ) as catalog,
        ):
            yield Place(
                ImagesApi(glance.url, headers),
                ImagesApi(catalog.url, headers),
                directory / "images",
                barbican,
                signers,
                ids,
            )


def outcome(api: ImagesApi, properties: dict[str, str]) -> tuple[Any, ...]:
    """Return what becomes of an image with these properties and the data."""
    image = api.create(**properties)
    answer = api.call("PUT", f"/{image}/file", headers=OCTETS, body=DATA)
    record = api.show(image)
    told = ""
    if answer.status != 204:
        document = answer.json()
        told = document.get("error", document)["message"].replace("<br /><br />", "")
        told = told.strip().splitlines()[-1].replace(image, "ID")
    api.delete(image)
    return answer.status, told, record["status"], record["size"], record["checksum"]


def test_what_is_signed(place: Place) -> None:
    for kind in KINDS:
        for method in METHODS if kind in {"RSA-PSS", "ECC_SECP384R1"} else ("SHA-256",):
            properties = place.signed(kind, img_signature_hash_method=method)
            theirs, ours = outcome(place.glance, properties), outcome(place.ours, properties)
            assert ours == theirs, (kind, method)
            assert ours[:3] == (204, "", "active")


def cases(place: Place) -> Iterator[tuple[str, dict[str, str]]]:
    for kind in KINDS:
        yield f"other data, {kind}", place.signed(kind, DATA + b"x")
    rsa = place.signed("RSA-PSS")
    yield "other key", {**rsa, "img_signature": place.signers["DSA"].signature(DATA)}
    yield "no base64", {**rsa, "img_signature": "a"}
    yield "nothing", {**rsa, "img_signature": ""}
    yield "hash", {**rsa, "img_signature_hash_method": "MD5"}
    yield "other hash", {**rsa, "img_signature_hash_method": "SHA-512"}
    yield "kind", {**rsa, "img_signature_key_type": "RSA"}
    yield "kind of another", {**rsa, "img_signature_key_type": "DSA"}
    yield "no certificate", {**rsa, "img_signature_certificate_uuid": UNSEEN}
    yield "no uuid", {**rsa, "img_signature_certificate_uuid": "x"}
    broken, passphrase = str(uuid.uuid4()), str(uuid.uuid4())
    place.barbican.certificates |= {broken: b"no certificate", passphrase: b"secret"}
    place.barbican.types[passphrase] = "opaque"
    yield "broken certificate", {**rsa, "img_signature_certificate_uuid": broken}
    yield "a passphrase", {**rsa, "img_signature_certificate_uuid": passphrase}


def test_what_is_not_what_was_signed(place: Place) -> None:
    for name, properties in cases(place):
        theirs, ours = outcome(place.glance, properties), outcome(place.ours, properties)
        assert ours == theirs, name
        assert ours[0] == 400, name
        assert ours[2:] == ("queued", None, None), name
    assert [path for path in place.files.rglob("*") if path.is_file()] == []


def test_who_may_not_read_the_certificate(place: Place) -> None:
    place.barbican.refuses = True
    try:
        properties = place.signed("DSA")
        theirs, ours = outcome(place.glance, properties), outcome(place.ours, properties)
    finally:
        place.barbican.refuses = False
    assert ours == theirs
    assert ours[0] == 400


def test_three_of_the_four_sign_nothing(place: Place) -> None:
    for name in place.signed("DSA"):
        properties = place.signed("DSA", DATA + b"x")
        del properties[name]
        theirs, ours = outcome(place.glance, properties), outcome(place.ours, properties)
        assert ours == theirs
        assert ours[0] == 204
