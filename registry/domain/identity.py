"""Who is asking: handed from the edge through every service call, never looked up on the way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, as far as rules care.

    `project_id` and `user_id` are Keystone's, None where there is no authentication.
    """

    project_id: str | None
    user_id: str | None
    is_admin: bool
    roles: frozenset[str] = frozenset()


# Glance without Keystone: everybody is the administrator, and new images have no owner.
EVERYBODY = Identity(project_id=None, user_id=None, is_admin=True)
