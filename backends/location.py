"""Where an object is: the location URIs that Glance keeps in its database, and their safe printing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backends.errors import InvalidError

# `scheme://authority`, where the authority is as RFC 3986 section 3.2 delimits it.
_GENERIC = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)", re.ASCII)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:@]*)(:\d*)?", re.ASCII)
# Glance puts S3 secrets into URIs as they are, slashes and all, so only these schemes are read
# as RFC 3986 says; elsewhere everything before the last "@" may be part of a secret.
_GENERIC_SCHEMES = frozenset({"file", "filesystem", "http", "https", "memory"})

NAME_BYTES_MAX = 255  # what file systems hold; Glance's image ids are 36


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
        """The URI without user, password, query and fragment; what is not a URI is not shown."""
        match = _GENERIC.match(self.uri)
        if match is None:
            return "***"
        secret, rest = self._split(match)
        hidden = "***@" if secret else ""
        return f"{match['scheme']}://{hidden}{_unsigned(rest)}"

    @property
    def bare(self) -> Location:
        """The same place, without the secrets that the URI may carry.

        A web address may be signed in its query: where it has one, `?***` stands for it and all
        behind it.  A fragment alone is no secret: no server is ever told of it.
        """
        match = _GENERIC.match(self.uri)
        if match is None:
            return self
        kind = match["scheme"].lower().partition("+")[0]
        if kind in {"s3", "swift"}:  # the last two parts tell the place, and may hold an "@"
            head, *place = self.uri[match.start("authority") :].rsplit("/", 2)
            return Location("/".join([f"{match['scheme']}://{head.rpartition('@')[2]}", *place]))
        if kind in {"http", "https"}:
            rest = self._split(match)[1]
            return Location(f"{match['scheme']}://{_unsigned(rest) if '?' in rest else rest}")
        return self

    def _split(self, match: re.Match[str]) -> tuple[str, str]:
        """Return user and secret, and what comes behind them."""
        authority = match["authority"]
        generic = match["scheme"].lower() in _GENERIC_SCHEMES
        if generic and (_HOST.fullmatch(authority) or "@" in authority):
            secret, _, host = authority.rpartition("@")
            return secret, host + self.uri[match.end() :]
        secret, _, rest = self.uri[match.start("authority") :].rpartition("@")
        return secret, rest

    def __repr__(self) -> str:
        return f"Location({self.redacted!r})"

    def __str__(self) -> str:
        return self.redacted


def _unsigned(rest: str) -> str:
    """Return what comes behind `scheme://`, with `?***` for its query and fragment."""
    path, *more = re.split(r"[?#]", rest, maxsplit=1)
    return f"{path}?***" if more else path


def checked_name(name: str) -> str:
    """Return `name` if every store can hold an object of that name, InvalidError otherwise.

    It is one part of a path, visible (dots at the beginning are for drivers' own files) and free
    of control characters.
    """
    if not name or name[0] == "." or "/" in name or not name.isprintable():
        raise InvalidError(f"not an object's name: {name[:NAME_BYTES_MAX]!r}")
    if len(name.encode(errors="surrogateescape")) > NAME_BYTES_MAX:
        raise InvalidError(f"an object's name of more than {NAME_BYTES_MAX} bytes")
    return name
