"""What Keystone tells of a token, read from its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec


class _Named(msgspec.Struct):
    id: str
    name: str = ""


class _Scope(msgspec.Struct):
    id: str
    name: str = ""
    domain: _Named | None = None


class AccessRule(msgspec.Struct, frozen=True):
    """What an application credential may be used for."""

    service: str
    method: str
    path: str

    def matches(self, method: str, path: str) -> bool:
        """Tell whether a request is meant; `{x}` and `*` stand for one part, `**` for any."""
        pattern = "".join(_expression(part) for part in _PARTS.findall(self.path))
        return method == self.method and re.fullmatch(pattern, path) is not None


_PARTS = re.compile(r"\{[^}]*\}|\*\*|\*|[^{*]+|\{")


def _expression(part: str) -> str:
    if part == "**":
        return ".*"
    return "[^/]+" if part == "*" or part.endswith("}") else re.escape(part)


class _Credential(msgspec.Struct):
    access_rules: tuple[AccessRule, ...] | None = None


class _Token(msgspec.Struct):
    user: _Scope
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)]
    project: _Scope | None = None
    domain: _Named | None = None
    system: dict[str, bool] | None = None
    roles: list[_Named] = []
    is_admin_project: bool = True
    application_credential: _Credential | None = None


class _Answer(msgspec.Struct):
    token: _Token


@dataclass(frozen=True, slots=True)
class Token:
    """Whom a token stands for, and for what.  Roles are in lower case, as Glance compares them."""

    user_id: str
    user_domain_id: str | None
    expires: datetime
    project_id: str | None = None
    project_domain_id: str | None = None
    domain_id: str | None = None
    system_scope: str | None = None
    is_admin_project: bool = True
    roles: frozenset[str] = frozenset()
    access_rules: tuple[AccessRule, ...] | None = None  # None: whatever its user may do

    def left(self) -> float:
        """How many seconds it lives yet; negative once it has ended."""
        return (self.expires - datetime.now(UTC)).total_seconds()


def parse_token(text: bytes) -> Token:
    """Read Keystone's answer; ValueError if it is none."""
    found = msgspec.json.decode(text, type=_Answer).token
    project, credential = found.project, found.application_credential
    return Token(
        user_id=found.user.id,
        user_domain_id=found.user.domain.id if found.user.domain else None,
        expires=found.expires_at,
        project_id=project.id if project else None,
        project_domain_id=project.domain.id if project and project.domain else None,
        domain_id=found.domain.id if found.domain else None,
        system_scope="all" if found.system and found.system.get("all") else None,
        is_admin_project=found.is_admin_project,
        roles=frozenset(role.name.lower() for role in found.roles),
        access_rules=credential.access_rules if credential else None,
    )
