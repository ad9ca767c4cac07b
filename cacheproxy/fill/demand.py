"""What readers want of a fill, and with whose credentials it may be fetched."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """A reader's own headers, for that reader's own image.  Never printed, never stored.

    `own`: those of the proxy's own account, for an image that a reader may download.
    `prefer`: the stores that the reader would rather have it read from, should he begin its fill.
    """

    image_id: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    own: bool = False
    prefer: tuple[str, ...] = field(default=(), compare=False)


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
