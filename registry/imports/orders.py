"""What the job of an import is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.domain.identity import Identity
from registry.domain.importing import COPY
from registry.service.jobs import Job


@dataclass(frozen=True, slots=True)
class Order:
    """One import; `stores` in the order in which they are to get the data, None: the only one.

    `begun` are the stores that may hold something of the image that no record names: its name was
    free there, and something was written.  It changes as the import goes on.
    """

    job: Job = field(repr=False)
    task_id: str
    image_id: str
    method: str
    arguments: Mapping[str, Any] = field(repr=False)
    stores: tuple[str | None, ...]
    must_succeed: bool
    identity: Identity
    begun: list[str]

    @classmethod
    def of(cls, job: Job) -> Order:
        """Read it."""
        told = job.arguments
        return cls(
            job=job,
            task_id=told["task"],
            image_id=str(job.image_id),
            method=told["method"]["name"],
            arguments=told["method"],
            stores=tuple(told["stores"]),
            must_succeed=told["must_succeed"],
            identity=Identity(
                told["project"], told["user"], is_admin=False, roles=frozenset(told["roles"])
            ),
            begun=list(told.get("begun", ())),
        )

    @property
    def is_copy(self) -> bool:
        """Whether the image is active and stays so, whatever happens."""
        return self.method == COPY
