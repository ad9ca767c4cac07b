"""Who is asking: handed from the edge through every service call, never looked up on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

SERVICE_ROLE: Final = "service"  # Keystone's, of the users that services act as
_ADMIN_RULES = frozenset({"publicize_image", "delete_image_location", "copy_image"})


class Rules(Protocol):
    """What an operator lets callers do, by Glance's names of rules."""

    @property
    def owners_only(self) -> bool:
        """Whether, beside the rules, only its owner's project and administrators change an image."""

    def allow(self, rule: str, identity: Identity, target: Mapping[str, Any]) -> bool:
        """Tell whether a caller may do what a rule is about to what `target` describes."""


class _OwnRules:
    """What holds where there is no policy: one's own images, and administrators everything."""

    owners_only = True

    def allow(self, rule: str, identity: Identity, target: Mapping[str, Any]) -> bool:
        del target  # whose it is was asked before
        if rule == "stores_info_detail":
            return identity.is_admin or SERVICE_ROLE in identity.roles
        return identity.is_admin or rule not in _ADMIN_RULES


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, and the rules by which the caller is judged.

    All ids are Keystone's, None where there is no authentication, or where the token is not for
    such a thing.  Roles are in lower case; `service_*` are of a service that calls for a user.
    """

    project_id: str | None
    user_id: str | None
    is_admin: bool
    roles: frozenset[str] = frozenset()
    user_domain_id: str | None = None
    project_domain_id: str | None = None
    domain_id: str | None = None  # of a token for a domain instead of a project
    system_scope: str | None = None  # "all" of a token for the whole cloud
    is_admin_project: bool = True
    service_user_id: str | None = None
    service_project_id: str | None = None
    service_roles: frozenset[str] = frozenset()
    rules: Rules = field(default=_OwnRules(), repr=False, compare=False)

    def may(self, rule: str, target: Mapping[str, Any]) -> bool:
        """Tell whether the rules let this caller do that."""
        return self.rules.allow(rule, self, target)

    def judged(self) -> Identity:
        """Return this caller, an administrator if the rules say so."""
        return replace(self, is_admin=bool(self.may("context_is_admin", {})))


# Glance without Keystone: everybody is the administrator, and new images have no owner.
EVERYBODY = Identity(project_id=None, user_id=None, is_admin=True)
