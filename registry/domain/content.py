"""Content by its name: a hash of the whole data, or the manifest that was made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from registry.domain.errors import InvalidRequestError

_HASH = re.compile(r"([a-z][a-z0-9_-]{0,63}):([0-9a-f]{1,128})", re.ASCII)
_MANIFEST = re.compile(r"[0-9]{1,4}:[0-9]{1,10}:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ContentName:
    """What content is found by: `algorithm` is None for a manifest's name, `value` in lower case.

    The hash `md5` is the record's `checksum`, every other its `os_hash_value`.
    """

    algorithm: str | None
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha512:HEX`, or the name of a manifest, `1:BYTES:HEX`."""
        lower = text.lower()
        if _MANIFEST.fullmatch(lower):
            return cls(None, lower)
        if found := _HASH.fullmatch(lower):
            return cls(found[1], found[2])
        raise InvalidRequestError(
            "Content is named by algorithm:hex, such as sha512:0fd1…, or as os_manifest is."
        )
