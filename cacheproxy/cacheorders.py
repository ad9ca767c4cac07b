"""What Glance's cache API asks of the keeper, and what it is told.

An order is answered by any number of `Rows`, and then by one that ends it.
"""

from __future__ import annotations

import msgspec


class CachedImage(msgspec.Struct, frozen=True, array_like=True):
    """An image whose every byte is there; times in seconds since the epoch."""

    image_id: str
    size: int
    hits: int  # answers that came from the cache alone, ranges too
    last_accessed: int  # 0: never
    last_modified: int  # when its bytes were found right; 0: not known


# --- orders -------------------------------------------------------------------------------------


class Order(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The base of all; the tag is the class's name."""


class ListImages(Order, frozen=True):
    """Which images are cached, and which are queued?"""


class QueueImage(Order, frozen=True):
    """Bring an image in, with this token's right."""

    image_id: str
    token: str | None

    def __repr__(self) -> str:
        return f"QueueImage({self.image_id})"  # never the token


class DeleteImage(Order, frozen=True):
    """Drop an image's chunks, and take it from the queue."""

    image_id: str


class ClearImages(Order, frozen=True):
    """Do so with all images."""

    cached: bool
    queued: bool


class CleanUp(Order, frozen=True):
    """Remove what nobody needs."""


AnyOrder = ListImages | QueueImage | DeleteImage | ClearImages | CleanUp


# --- answers ------------------------------------------------------------------------------------


class Reply(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The base of all; the tag is the class's name."""


class Rows(Reply, frozen=True):
    """A part of the list; more comes."""

    cached: list[CachedImage]
    queued: list[str]


class Done(Reply, frozen=True):
    """It is done."""


class NotCached(Reply, frozen=True):
    """There is nothing of this image, neither cached nor queued."""


class Refused(Reply, frozen=True):
    """It would break a promise: a pin, a fill in progress."""

    why: str


class Full(Reply, frozen=True):
    """There is no place in the queue."""


class Failed(Reply, frozen=True):
    """The cache's disk, or something else; the log tells more."""


Ending = Done | NotCached | Refused | Full | Failed
AnyReply = Rows | Ending
