"""Work that is owed: kept in the database until it has been done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work, claimed by one instance.

    `attempts` counts this try and those before that failed or died; `claims` counts whoever has
    held the job, and so says whether a claim still holds.  `lease` is for how many seconds it does,
    from each renewal; 0 before it is claimed.
    """

    id: str
    kind: str
    image_id: str | None
    arguments: Mapping[str, Any] = field(repr=False)  # JSON; what it is about is nobody's business
    attempts: int
    claims: int
    lease: float = 0.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """Jobs of one kind that could be done and that nobody does; and what was given up of them.

    `seconds` is for how long the first of them has been due.
    """

    kind: str
    due: int
    seconds: float
    given_up: int


@dataclass(frozen=True, slots=True)
class Owed:
    """A piece of work that is owed; `host` is the only one that can do it, where that matters."""

    id: str
    arguments: Mapping[str, Any] = field(repr=False)
    host: str | None
