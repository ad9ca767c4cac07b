"""Keys that sign images, and their certificates."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import NameOID

KINDS = ("RSA-PSS", "DSA", "ECC_SECP384R1", "ECC_SECP521R1")
METHODS = {
    "SHA-224": hashes.SHA224(),
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs with a key of one kind, as the four properties of an image name it."""

    kind: str
    key: Any
    certificate: bytes  # PEM

    def signature(self, data: bytes, method: str = "SHA-256") -> str:
        """Return what `img_signature` is for this data."""
        algorithm = METHODS[method]
        if self.kind == "RSA-PSS":
            how = padding.PSS(padding.MGF1(algorithm), padding.PSS.MAX_LENGTH)
            made = self.key.sign(data, how, algorithm)
        elif self.kind == "DSA":
            made = self.key.sign(data, algorithm)
        else:
            made = self.key.sign(data, ec.ECDSA(algorithm))
        return base64.b64encode(made).decode()


def signer(kind: str) -> Signer:
    """Make a key of this kind."""
    key: Any
    if kind == "RSA-PSS":
        key = rsa.generate_private_key(65537, 2048)
    elif kind == "DSA":
        key = dsa.generate_private_key(2048)
    else:
        key = ec.generate_private_key(getattr(ec, kind.removeprefix("ECC_"))())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "who signs")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return Signer(kind, key, certificate.public_bytes(serialization.Encoding.PEM))
