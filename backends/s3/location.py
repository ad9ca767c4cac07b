"""Where objects of the S3 store are: the endpoint that Glance's options name, and location URIs.

Glance writes `s3://HOST/BUCKET/KEY` (plain HTTP) and `s3+https://HOST/BUCKET/KEY`; its older
releases wrote `s3://ACCESS:SECRET@HOST/BUCKET/KEY`, the secret as it is, slashes and all.  Nothing
is ever quoted.  As in Glance, a location tells bucket and key only: host and credentials are
always the configured ones, so that a database outlives a change of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from backends.errors import InvalidError
from backends.location import Location

SCHEMES = ("s3", "s3+http", "s3+https")
DEFAULT_REGION = "us-east-1"  # what S3 servers other than Amazon's sign with, unless told

_HOST = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#@\s]+(?:/[^?#@\s]*[^/?#@\s])?)/*", re.ASCII
)
_AMAZON = re.compile(
    r"s3(?:[.-](?P<region>[a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(?:\.cn)?(?::\d+)?", re.ASCII
)
_NOT_A_PART = ("", ".", "..")  # of a path: URLs with these mean another one


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, as `s3_store_host` names it."""

    secure: bool
    authority: str  # host, port and perhaps a path

    @classmethod
    def of(cls, host: str) -> Self:
        """Read `s3_store_host`; without a scheme it means plain HTTP.  ValueError if it is none."""
        text = host.strip()
        match = _HOST.fullmatch(text if "://" in text else f"http://{text}")
        if match is None:
            raise ValueError("s3_store_host is neither a host nor an http address")
        return cls(match["scheme"] == "https", match["authority"])

    @property
    def url(self) -> str:
        """The address that requests go to."""
        return f"http{'s' if self.secure else ''}://{self.authority}"

    @property
    def is_amazon(self) -> bool:
        """Whether it is Amazon's own, which names buckets in the host."""
        return _AMAZON.fullmatch(self.authority) is not None

    @property
    def region(self) -> str:
        """The region that the host tells, the default one where it tells none."""
        match = _AMAZON.fullmatch(self.authority)
        return match["region"] if match and match["region"] else DEFAULT_REGION

    def location(self, address: Address) -> Location:
        """Return the URI of an object, as Glance writes it."""
        scheme = "s3+https" if self.secure else "s3"
        return Location(f"{scheme}://{self.authority}/{address.bucket}/{address.key}")


@dataclass(frozen=True, slots=True)
class Address:
    """An object: its bucket and its key."""

    bucket: str
    key: str

    @classmethod
    def of(cls, location: Location) -> Self:
        """Read a location; InvalidError if it is not one of an S3 store."""
        scheme, separator, rest = location.uri.partition("://")
        # Whatever stands before the last two parts, a secret with slashes too, does not matter.
        before, _, key = rest.rstrip("/").rpartition("/")
        host, _, bucket = before.rpartition("/")
        if (
            not separator
            or scheme.lower() not in SCHEMES
            or "://" in rest
            or not host.strip("/")
            or bucket in _NOT_A_PART
            or key in _NOT_A_PART
            or "@" in bucket
            or not (bucket + key).isprintable()
        ):
            raise InvalidError(f"{location}: not a location of an S3 store")
        return cls(bucket, key)
