"""Where an image is in Ceph: `rbd://FSID/POOL/IMAGE/SNAPSHOT`, and Glance's first form."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from backends.errors import InvalidError
from backends.location import Location

SCHEME = "rbd"
SNAPSHOT = "snap"  # that Glance makes of an image, and others clone


@dataclass(frozen=True, slots=True)
class Address:
    """An image, and which snapshot of it; None is what only a full location tells."""

    image: str
    fsid: str | None = None
    pool: str | None = None
    snapshot: str | None = None

    @classmethod
    def of(cls, location: Location) -> Address:
        """Read a location; InvalidError if it is none of an RBD store.

        `rbd://IMAGE` is not quoted, has no snapshot, and means the configured pool.
        """
        scheme, _, rest = location.uri.partition("://")
        parts = rest.split("/")
        if scheme.lower() != SCHEME or "" in parts:
            raise InvalidError(f"{location}: not a location of an RBD store")
        if len(parts) == 1:
            return cls(_printable(location, rest))
        if len(parts) != 4:
            raise InvalidError(f"{location}: is neither rbd://IMAGE nor rbd://FSID/POOL/IMAGE/SNAP")
        fsid, pool, image, snapshot = (_printable(location, unquote(part)) for part in parts)
        return cls(image, fsid, pool, snapshot)


def new_location(fsid: str, pool: str, image: str) -> Location:
    """Return the location of a new image, which Nova and Cinder clone from."""
    parts = (fsid, pool, image, SNAPSHOT)
    return Location(f"{SCHEME}://" + "/".join(quote(part, safe="") for part in parts))


def _printable(location: Location, name: str) -> str:
    """Refuse what Ceph's library would take for another name: it reads up to the first NUL."""
    if not name.isprintable():
        raise InvalidError(f"{location}: no such name can be")
    return name
