"""What an upstream tells about an image's content.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)
_MD5_DIGITS = 32
_ALGORITHM_CHARACTERS_MAX = 64  # Glance's columns
_HASH_DIGITS_MAX = 128
_OWNER_CHARACTERS_MAX = 255
_MANIFEST_CHARACTERS_MAX = 128  # twice what the name of a manifest takes
_TIME_CHARACTERS_MAX = 64


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Size and hashes of an active image, as its record claims them: hints, not proofs."""

    image_id: str
    size: int  # bytes
    checksum: str | None  # MD5, lower-case hex
    hash_algo: str | None  # lower case, as hashlib names it; None together with the value
    hash_value: str | None  # lower-case hex
    owner: str | None = None  # the project that its chunks are charged to
    manifest: str | None = None  # `os_manifest`: the name of a published manifest, if it is one
    created_at: str | None = None  # set by Glance alone: an id that is used again has another one


def image_facts(image_id: str, record: object) -> ImageFacts | None:
    """Read an image record (the JSON of `GET /v2/images/{id}`).

    None unless it is an active image of a known size.  A hash that is no hex counts as absent.
    """
    if not isinstance(record, Mapping) or record.get("status") != "active":
        return None
    size = record.get("size")
    if type(size) is not int or size < 0:
        return None
    algorithm = record.get("os_hash_algo")
    value = _hex(record.get("os_hash_value"))
    if not (isinstance(algorithm, str) and 0 < len(algorithm) <= _ALGORITHM_CHARACTERS_MAX):
        algorithm = None
    if algorithm is None or value is None or len(value) > _HASH_DIGITS_MAX:
        algorithm = value = None
    checksum = _hex(record.get("checksum"))
    if checksum is not None and len(checksum) != _MD5_DIGITS:
        checksum = None
    return ImageFacts(
        image_id=image_id,
        size=size,
        checksum=checksum,
        hash_algo=algorithm and algorithm.lower(),
        hash_value=value,
        owner=_text(record.get("owner"), _OWNER_CHARACTERS_MAX),
        manifest=_text(record.get("os_manifest"), _MANIFEST_CHARACTERS_MAX),
        created_at=_text(record.get("created_at"), _TIME_CHARACTERS_MAX),
    )


def same_image(one: ImageFacts, other: ImageFacts) -> bool:
    """Whether two records of one id are of one image, with one content.

    Size and hashes alone would not do: who gets an id that was used before may claim the hashes
    that the former image had.
    """
    times = {one.created_at, other.created_at} - {None}
    return len(times) < 2 and _content(one) == _content(other)


def _content(facts: ImageFacts) -> tuple[int, str | None, str | None, str | None]:
    return facts.size, facts.checksum, facts.hash_algo, facts.hash_value


def _text(value: object, characters_max: int) -> str | None:
    if isinstance(value, str) and 0 < len(value) <= characters_max:
        return value
    return None


def _hex(value: object) -> str | None:
    if isinstance(value, str) and _HEX.fullmatch(value):
        return value.lower()
    return None
