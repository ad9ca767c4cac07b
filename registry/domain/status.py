"""The status of an image, and the only place that says how it may change.

    queued      a record without data
    saving      its data is being uploaded
    uploading   data is being staged for an import
    importing   an import is running
    active      its data is complete; it never changes again
    deactivated active, but only administrators may download it
    killed      an upload of the v1 API failed (only in old databases)
    pending_delete  deleted, data kept for a while
    deleted     the record remains, so that an id is never used twice

Going back to queued forgets the size.  Source: Glance's own table (glance/domain).
"""

from __future__ import annotations

from enum import StrEnum

from registry.domain.errors import InvalidRequestError, TransitionError


class Status(StrEnum):
    """Where an image is in its life."""

    QUEUED = "queued"
    SAVING = "saving"
    UPLOADING = "uploading"
    IMPORTING = "importing"
    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    KILLED = "killed"
    PENDING_DELETE = "pending_delete"
    DELETED = "deleted"


_S = Status
TRANSITIONS: dict[Status, frozenset[Status]] = {
    _S.QUEUED: frozenset({_S.SAVING, _S.UPLOADING, _S.IMPORTING, _S.ACTIVE, _S.DELETED}),
    _S.SAVING: frozenset({_S.ACTIVE, _S.QUEUED, _S.KILLED, _S.DELETED}),
    _S.UPLOADING: frozenset({_S.IMPORTING, _S.QUEUED, _S.DELETED}),
    _S.IMPORTING: frozenset({_S.ACTIVE, _S.QUEUED, _S.DELETED}),
    _S.ACTIVE: frozenset({_S.DEACTIVATED, _S.PENDING_DELETE, _S.DELETED}),
    _S.DEACTIVATED: frozenset({_S.ACTIVE, _S.DELETED}),
    _S.KILLED: frozenset({_S.DELETED}),
    _S.PENDING_DELETE: frozenset({_S.DELETED, _S.ACTIVE}),
    _S.DELETED: frozenset(),
}

ON_ITS_WAY = frozenset({Status.SAVING, Status.UPLOADING, Status.IMPORTING})  # an image's data is
GONE = frozenset({Status.KILLED, Status.PENDING_DELETE, Status.DELETED})  # nobody uses the data


def require_transition(now: Status, then: Status) -> None:
    """Raise `TransitionError` unless an image may go from `now` to `then`."""
    if then not in TRANSITIONS[now]:
        raise TransitionError(f"Image status transition from {now} to {then} is not allowed")


def require_delay(now: Status) -> None:
    """Refuse to keep the data of an image that is to be deleted and could not be active again.

    As Glance: what is deactivated has to be active, or its deletion not delayed.
    """
    if Status.PENDING_DELETE not in TRANSITIONS[now]:
        raise InvalidRequestError(
            f"Image status transition from {now} to {Status.PENDING_DELETE} is not allowed"
        )
