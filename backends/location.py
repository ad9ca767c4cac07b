"""Where an object is: the location URIs that Glance keeps in its database, and their safe printing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class Location:
    """A location URI, exactly as the database holds it.

    `uri` may carry credentials (http, swift, s3), so `str()` and `repr()` never show them.
    """

    uri: str

    @property
    def scheme(self) -> str:
        """The URI's scheme in lower case, which names the driver."""
        return self.uri.partition(":")[0].lower()

    @property
    def redacted(self) -> str:
        """The URI without user, password, query and fragment."""
        parts = urlsplit(self.uri)
        authority = parts.netloc.rpartition("@")
        shown = f"***@{authority[2]}" if authority[1] else authority[2]
        return urlunsplit((parts.scheme, shown, parts.path, "***" if parts.query else "", ""))

    def __repr__(self) -> str:
        return f"Location({self.redacted!r})"

    def __str__(self) -> str:
        return self.redacted
