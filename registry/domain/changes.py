"""What the feed of changes tells of images, and which step of an image's life is worth telling."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.domain.status import Status


class ChangeKind(StrEnum):
    """What happened to the data of an image, for whoever keeps a copy."""

    DATA = "data"  # it came, or came back
    DEACTIVATED = "deactivated"
    REACTIVATED = "reactivated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class ImageChange:
    """One change; `seq` counts up, in the order of the transactions."""

    seq: int
    image_id: str
    kind: ChangeKind


@dataclass(frozen=True, slots=True)
class ChangeHistory:
    """Where the feed stands: the changes behind `floor`, up to `last`, are there.

    The numbers mean something within one `epoch` only.
    """

    epoch: str
    floor: int
    last: int

    def reaches(self, epoch: str, after: int) -> bool:
        """Tell whether all changes behind `after` are there, and that number was ever told."""
        return epoch == self.epoch and self.floor <= after <= self.last


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Some changes, in order, and where the feed stood when they were read."""

    changes: tuple[ImageChange, ...]
    last: int
    epoch: str


@dataclass(frozen=True, slots=True)
class ChangeTail:
    """The newest changes, all of those behind `history.floor`."""

    history: ChangeHistory
    changes: tuple[ImageChange, ...]

    def page(self, epoch: str, after: int, limit: int) -> ChangePage | None:
        """Return the first changes behind `after`; None where this tail does not reach back."""
        if not self.history.reaches(epoch, after):
            return None
        behind = [change for change in self.changes if change.seq > after]
        return ChangePage(tuple(behind[:limit]), self.history.last, self.history.epoch)


def kind_of(now: Status, then: Status) -> ChangeKind | None:
    """Say what a change of status means for the data; None where it means nothing."""
    if then is Status.ACTIVE:
        return ChangeKind.REACTIVATED if now is Status.DEACTIVATED else ChangeKind.DATA
    if then is Status.DEACTIVATED:
        return ChangeKind.DEACTIVATED
    if then in {Status.DELETED, Status.PENDING_DELETE} and now is not Status.PENDING_DELETE:
        return ChangeKind.DELETED
    return None
