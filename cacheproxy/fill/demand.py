"""What readers want of a fill, and with whose credentials it may be fetched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

CREDENTIALS_MAX = 64  # kept of readers who have left


@dataclass(frozen=True, slots=True)
class Credential:
    """A reader's own headers, for that reader's own image.  Never printed, never stored."""

    image_id: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(slots=True, eq=False)
class Demand:
    """A reader's wish: the chunks from `cursor` on, before `stop`.

    `must_prove`: it waits for the proof of the whole, so all of the image has to come.
    """

    cursor: int
    stop: int
    must_prove: bool
    credential: Credential
    served: int = 0  # the fill's note: every chunk from `cursor` to here has landed


class Credentials:
    """The credentials of a fill's readers, also of those who have left; kept until it ends."""

    def __init__(self) -> None:
        self._kept: dict[Credential, None] = {}  # the latest last
        self._refused: set[Credential] = set()
        self._suspect: set[str] = set()  # images whose source sent wrong bytes

    def __repr__(self) -> str:
        return f"<Credentials {len(self._kept)}, {len(self._refused)} refused>"

    def add(self, credential: Credential) -> None:
        """A reader has come."""
        self._kept.pop(credential, None)
        self._kept[credential] = None
        if len(self._kept) > CREDENTIALS_MAX:
            del self._kept[next(iter(self._kept))]

    def refuse(self, credential: Credential) -> None:
        """The upstream took it for no right; it is not used again."""
        self._refused.add(credential)

    def suspect(self, image_id: str) -> None:
        """What came for this image was wrong; equal content of another is asked for first."""
        self._suspect.add(image_id)

    def choose(self, present: Iterable[Demand]) -> Credential | None:
        """Choose whose right is used: a present reader's first, the latest before the earlier."""
        latest = reversed([demand.credential for demand in present])
        usable = [each for each in (*latest, *reversed(self._kept)) if each not in self._refused]
        return min(usable, key=lambda each: each.image_id in self._suspect, default=None)

    def clear(self) -> None:
        """The fill has ended: forget them."""
        self._kept.clear()
        self._refused.clear()
