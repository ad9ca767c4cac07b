"""Who is asking: handed from the edge through every service call, never looked up on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from registry.domain.protection import UNPROTECTED, Protections, Use

SERVICE_ROLE: Final = "service"  # Keystone's, of the users that services act as
_SERVICE_RULES = frozenset({"stores_info_detail", "fetch_image_location"})
_ADMIN_RULES = frozenset(
    {"publicize_image", "delete_image_location", "copy_image", "find_content", "tasks_api_access"}
)
_ADMIN_RULES_OF_METADEFS = tuple(
    f"{change}_metadef_" for change in ("add", "modify", "delete", "remove")
)


class Rules(Protocol):
    """What an operator lets callers do, by Glance's names of rules."""

    @property
    def owners_only(self) -> bool:
        """Whether, beside the rules, only its owner's project and administrators change an image."""

    def allow(self, rule: str, identity: Identity, target: Mapping[str, Any]) -> bool:
        """Tell whether a caller may do what a rule is about to what `target` describes."""

    def judge(self, rule: str, identity: Identity) -> bool:
        """Tell what a rule of the operator's own says of a caller, by its name."""


class _OwnRules:
    """What holds where there is no policy: one's own images, and administrators everything."""

    owners_only = True

    def allow(self, rule: str, identity: Identity, target: Mapping[str, Any]) -> bool:
        del target  # whose it is was asked before
        if rule in _SERVICE_RULES:
            return identity.is_admin or SERVICE_ROLE in identity.roles
        is_admins = rule in _ADMIN_RULES or rule.startswith(_ADMIN_RULES_OF_METADEFS)
        return identity.is_admin or not is_admins

    def judge(self, rule: str, identity: Identity) -> bool:
        del rule  # nobody has written it
        return identity.is_admin


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
    protections: Protections = field(default=UNPROTECTED, repr=False, compare=False)
    token: str | None = field(default=None, repr=False, compare=False)  # never kept or told

    @property
    def is_service(self) -> bool:
        """Whether a service asks, for itself or for a user."""
        return SERVICE_ROLE in self.roles | self.service_roles

    def may(self, rule: str, target: Mapping[str, Any]) -> bool:
        """Tell whether the rules let this caller do that."""
        return self.rules.allow(rule, self, target)

    def may_use(self, use: Use, name: str) -> bool:
        """Tell whether this caller may make that use of custom properties of this name."""
        return self.protections.allow(use, name, self)

    def judged(self) -> Identity:
        """Return this caller, an administrator if the rules say so."""
        is_admin = bool(self.may("context_is_admin", {}))
        return self if is_admin is self.is_admin else replace(self, is_admin=is_admin)


# Glance without Keystone: everybody is the administrator, and new images have no owner.
EVERYBODY = Identity(project_id=None, user_id=None, is_admin=True)
