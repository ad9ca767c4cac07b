"""Which names of an image document are fields, which are custom, and who may touch them."""

from __future__ import annotations

from typing import NoReturn

from registry.domain.errors import ForbiddenError, InvalidRequestError
from registry.domain.limits import NAME_LENGTH_MAX

# Set by clients, stored in a column of their own (tags apart).
CHANGEABLE = frozenset(
    {
        *("name", "visibility", "owner", "protected", "os_hidden", "container_format"),
        *("disk_format", "min_disk", "min_ram", "tags"),
    }
)
READ_ONLY = frozenset(
    {
        *("created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url"),
        *("self", "file", "schema", "stores", "os_hash_algo", "os_hash_value"),
    }
)
# Those of them that a record to be made cannot even try to have, whatever their value.
NEVER_SENT = frozenset({"direct_url", "self", "file", "schema", "stores"})
# Read-only as well, but no client that copies a whole record knows it: not refused, never stored.
IGNORED = frozenset({"os_manifest"})
RESERVED = frozenset({"location", "deleted", "deleted_at"})
RESERVED_PREFIX = "os_glance"  # the catalog's own notes among the custom properties


def refuse_read_only(name: str) -> NoReturn:
    """Refuse to set what only the catalog sets."""
    raise ForbiddenError(f"Attribute '{name}' is read-only.")


def require_writable(name: str) -> None:
    """Refuse names that clients may never set."""
    if name in READ_ONLY:
        refuse_read_only(name)
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise ForbiddenError(f"Attribute '{name}' is reserved.")
    if len(name) > NAME_LENGTH_MAX:
        raise InvalidRequestError(
            f"Custom property should not be greater than {NAME_LENGTH_MAX} characters."
        )
