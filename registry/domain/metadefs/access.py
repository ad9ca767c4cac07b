"""Who may do what with metadata definitions.  Pure: the rules are the caller's, `Identity.rules`.

As with images there are two questions, in Glance's order: whether the namespace is *visible*, then
what a rule says of the call.  Who is refused by a rule, and by `get_metadef_namespace` too, does not
learn that there is such a namespace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.domain.errors import ForbiddenError, NotFoundError
from registry.domain.identity import Identity
from registry.domain.metadefs.records import PUBLIC, Namespace


def is_visible(identity: Identity, namespace: Namespace) -> bool:
    """Tell whether the namespace exists for this caller, whatever the rules say."""
    return (
        identity.is_admin
        or namespace.owner is None
        or namespace.visibility == PUBLIC
        or (identity.project_id is not None and identity.project_id == namespace.owner)
    )


def require_visible(identity: Identity, namespace: Namespace | None, name: str) -> Namespace:
    """Return the namespace if it exists for this caller."""
    if namespace is not None and is_visible(identity, namespace):
        return namespace
    raise absent(name)


def may(identity: Identity, namespace: Namespace | None, rule: str) -> bool:
    """Tell what a rule says of this caller and this namespace, or of none."""
    return identity.may(rule, _target(identity, namespace))


def require(identity: Identity, namespace: Namespace | None, *rules: str) -> None:
    """Refuse whoever one of the rules refuses; who may not read the namespace gets no word.

    Without a namespace the caller's own project is asked about, as Glance has it.
    """
    for rule in rules:
        if may(identity, namespace, rule):
            continue
        if rule == _READ or not may(identity, namespace, _READ):
            if namespace is None:
                raise NotFoundError("There is nothing for you.")
            raise absent(namespace.name)
        raise ForbiddenError("You are not permitted to do this with metadata definitions.")


def require_unprotected(namespace: Namespace, what: str) -> None:
    """Refuse to delete anything of a protected namespace."""
    if namespace.protected:
        raise ForbiddenError(f"Metadata definition {what} is protected and cannot be deleted.")


def absent(name: str) -> NotFoundError:
    """Make the answer to who asks for a namespace that is not there, or not for them."""
    return NotFoundError(f"Namespace {name} not found")


def _target(identity: Identity, namespace: Namespace | None) -> Mapping[str, Any]:
    if namespace is None:
        return {"project_id": identity.project_id}
    return {"project_id": namespace.owner, "visibility": namespace.visibility}


_READ = "get_metadef_namespace"
