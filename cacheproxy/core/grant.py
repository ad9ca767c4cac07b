"""The text of a signed URL: who may read which image until when, and the signature under it.  Pure.

    1.KEY.ISSUED.EXPIRES.NONCE.PROJECT.SIGNATURE

KEY names the key that signed it, times are seconds since 1970, NONCE makes each text another one,
PROJECT may be empty.  The signature is an HMAC-SHA256 over the image's id and all that stands
before it.  The text needs no quoting, in a URL, in JSON, or in a shell.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

VERSION = 1
NONCE_BYTES = 16
PROJECT_CHARACTERS_MAX = 64  # Keystone's own limit

_PROJECT = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
_TEXT = re.compile(
    r"(?P<body>1\.(?P<key>[0-9a-f]{16})\.(?P<issued>\d{1,12})\.(?P<expires>\d{1,12})"
    r"\.(?P<nonce>[0-9A-Za-z_-]{22})\.(?P<project>[0-9A-Za-z_-]{0,64}))"
    r"\.(?P<signature>[0-9A-Za-z_-]{43})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Key:
    """A key; the newest of a node signs."""

    name: str  # 16 hexadecimal digits
    made: int  # seconds since 1970
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of a node, the newest first."""

    keys: Sequence[Key]

    @property
    def newest(self) -> Key | None:
        """The key that signs; None: there is none yet."""
        return self.keys[0] if self.keys else None

    def verifying(self, name: str, now: float, lifetime_max: float) -> Key | None:
        """Find a key that may still verify: until all that it can have signed is over."""
        successor: Key | None = None
        for key in self.keys:
            if key.name == name:
                alive = successor is None or now < successor.made + lifetime_max
                return key if alive else None
            successor = key
        return None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a signed URL says; only `signed_by` tells whether it is true."""

    key: str
    issued: int
    expires: int
    project: str | None
    body: str = field(repr=False)
    signature: str = field(repr=False)

    def signed_by(self, key: Key, image_id: str) -> bool:
        """Whether this key has signed it for this image; takes as long for each wrong signature."""
        expected = _signature(key, image_id, self.body)
        return hmac.compare_digest(expected.encode(), self.signature.encode())


def issue(  # noqa: PLR0913  (all that a grant says)
    key: Key, image_id: str, project: str | None, *, issued: int, expires: int, nonce: bytes
) -> str:
    """Return the signed text; `nonce` is random, of NONCE_BYTES."""
    assert len(nonce) == NONCE_BYTES
    body = f"{VERSION}.{key.name}.{issued}.{expires}.{_text(nonce)}.{project or ''}"
    return f"{body}.{_signature(key, image_id, body)}"


def read(text: str) -> Grant | None:
    """Read what `issue` wrote; None: it is nothing of the kind."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    return Grant(
        key=match["key"],
        issued=int(match["issued"]),
        expires=int(match["expires"]),
        project=match["project"] or None,
        body=match["body"],
        signature=match["signature"],
    )


def name_of(image_id: str, text: str) -> str:
    """Return what a grant is found under; who knows the name cannot make the text from it."""
    return hashlib.sha256(f"{image_id}\n{text}".encode()).hexdigest()


def can_be_named(project: str) -> bool:
    """Whether a project's id can stand in a grant; all of Keystone's can."""
    return _PROJECT.fullmatch(project) is not None


def _signature(key: Key, image_id: str, body: str) -> str:
    # The image's id may hold anything but a line's end.
    return _text(hmac.digest(key.secret, f"cacheproxy {image_id}\n{body}".encode(), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
