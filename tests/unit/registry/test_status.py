"""The status machine: the table is whole, and nothing leaves its end."""

from __future__ import annotations

import pytest

from registry.domain.errors import TransitionError
from registry.domain.status import TRANSITIONS, Status, require_transition


def test_every_status_has_a_row() -> None:
    assert set(TRANSITIONS) == set(Status)


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (Status.QUEUED, Status.SAVING),
        (Status.SAVING, Status.ACTIVE),
        (Status.SAVING, Status.QUEUED),
        (Status.ACTIVE, Status.DEACTIVATED),
        (Status.DEACTIVATED, Status.ACTIVE),
    ],
)
def test_allowed(now: Status, then: Status) -> None:
    require_transition(now, then)


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (Status.ACTIVE, Status.SAVING),  # data never changes
        (Status.ACTIVE, Status.QUEUED),
        (Status.SAVING, Status.SAVING),  # one upload at a time
        (Status.DEACTIVATED, Status.SAVING),
        (Status.QUEUED, Status.DEACTIVATED),
    ],
)
def test_refused(now: Status, then: Status) -> None:
    with pytest.raises(TransitionError, match=f"from {now} to {then}"):
        require_transition(now, then)


def test_everything_can_be_deleted_and_nothing_returns() -> None:
    assert all(Status.DELETED in after for now, after in TRANSITIONS.items() if now != "deleted")
    assert not TRANSITIONS[Status.DELETED]
