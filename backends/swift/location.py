"""Swift's location URIs, as Glance writes and reads them.  Pure.

    swift+https://PROJECT%3AUSER:KEY@AUTH_ADDRESS/CONTAINER/OBJECT     with credentials
    swift+config://REFERENCE/CONTAINER/OBJECT                          an account of a file
    swift+https://STORAGE_URL/CONTAINER/OBJECT                         multi-tenant: the caller's

`swift+http` has an address of plain HTTP; `swift` is an old name of `swift+https`.  Containers and
objects stand there as they are, unquoted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from backends.errors import InvalidError
from backends.location import Location

_REFERENCE = "swift+config"
_ADDRESS_SCHEMES = {"swift": "https", "swift+https": "https", "swift+http": "http"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:@/]+)(:\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SwiftLocation:
    """An object in a container, and whose: of a `reference`, or at an `address`.

    `address` is Keystone's where there is a `user`, and else the storage URL of an account.
    """

    container: str
    name: str
    address: str = ""
    user: str = ""
    key: str = field(default="", repr=False)
    reference: str = ""

    @property
    def uri(self) -> str:
        """The URI; with credentials, if there are any."""
        if self.reference:
            return f"{_REFERENCE}://{self.reference}/{self.container}/{self.name}"
        scheme, _, rest = self.address.partition("://")
        # Glance leaves a "/" as it is, and cannot read that again; it does read "%2F".
        secret = f"{quote(self.user, safe='')}:{quote(self.key, safe='')}@" if self.user else ""
        return f"swift+{scheme}://{secret}{rest.strip('/')}/{self.container}/{self.name}"


def parse(location: Location) -> SwiftLocation:
    """Read a location; InvalidError if it is none of Swift."""
    scheme, _, rest = location.uri.partition("://")
    scheme = scheme.lower()
    place, _, name = rest.rpartition("/")
    place, _, container = place.rpartition("/")
    if "://" in rest or not (place and container and name):
        raise InvalidError(f"{location}: not a location of Swift")
    if any(not part.isprintable() or part in (".", "..") for part in (place, container, name)):
        raise InvalidError(f"{location}: not a place in Swift")
    if scheme == _REFERENCE:
        return SwiftLocation(container, name, reference=place)
    if scheme not in _ADDRESS_SCHEMES:
        raise InvalidError(f"{location}: not a location of Swift")
    secret, _, address = place.rpartition("@")
    if not _HOST.fullmatch(address.partition("/")[0]):
        raise InvalidError(f"{location}: leads to no host")
    user, _, key = secret.rpartition(":")
    if secret and not (user and key):
        raise InvalidError(f"{location}: has half of the credentials only")
    address = f"{_ADDRESS_SCHEMES[scheme]}://{address}"
    return SwiftLocation(container, name, address, unquote(user), unquote(key))


def container_of(container: str, seed: int, name: str) -> str:
    """Return the container of a new image, by as many digits of its id as `seed` says.

    Dashes are no digits: of `3a1b2c3d-4e5f-…`, the seed 9 takes `3a1b2c3d-4`.
    """
    if not seed:
        return container
    lowered = name.lower()
    dashes = lowered[:seed].count("-")
    return f"{container}_{lowered[: seed + dashes]}"
