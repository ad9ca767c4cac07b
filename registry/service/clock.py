"""What time it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time in UTC, without a zone, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)
