"""Membership: a project that an image is shared with, and what it answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class MemberStatus(StrEnum):
    """What a project makes of an image that is shared with it: lists show it once accepted."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Member:
    """One project that one image is shared with.  Times are UTC, without a zone."""

    image_id: str
    project_id: str
    status: MemberStatus
    created_at: datetime
    updated_at: datetime
