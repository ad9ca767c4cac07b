"""What a worker and the keeper say to each other, one packet each (msgpack of tagged structs).

A worker *opens* a reader for a span of an image and *grants* it chunk indexes; the keeper sends each
chunk, in order, as an open and proven descriptor as soon as it is there.  Every descriptor that
was sent is *returned* once, when the worker has closed it: at its own choice, or because the
keeper said that the chunk is *dying*.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cacheproxy.cacheorders import AnyOrder, AnyReply
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.proof import Identity


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The base of all; the tag is the class's name."""


# --- worker to keeper ---------------------------------------------------------------------------


class Describe(Message, frozen=True):
    """What is known of this image?  Asked only for a caller who may download it."""

    request: int
    image_id: str


class Adopt(Message, frozen=True):
    """Is this image proven, or can it be by the manifest that its record names?

    Answered with `Described`; headers are the caller's own.
    """

    request: int
    facts: ImageFacts
    headers: list[tuple[str, str]]

    def __repr__(self) -> str:
        return f"Adopt({self.request}, {self.facts.image_id})"  # never the headers


class Open(Message, frozen=True):
    """Begin a reader of the bytes `start <= position < stop`; headers are the caller's own."""

    reader: int
    facts: ImageFacts
    start: int
    stop: int
    headers: list[tuple[str, str]]
    prefer: list[str] = []  # stores that what is absent is rather read from

    def __repr__(self) -> str:
        return f"Open({self.reader}, {self.facts.image_id}, {self.start}, {self.stop})"  # likewise


class Grant(Message, frozen=True):
    """The reader takes the chunks `first <= index < stop`: what is below `first` it has."""

    reader: int
    stop: int
    first: int = 0


class Close(Message, frozen=True):
    """The reader is gone; nothing more is sent to it."""

    reader: int


class Return(Message, frozen=True):
    """So many descriptors of a chunk were closed."""

    digest: bytes
    count: int


class Hold(Message, frozen=True):
    """Descriptors that an earlier keeper sent are still open; said first on a new link."""

    digests: list[bytes]


class Touch(Message, frozen=True):
    """These chunks were used without asking."""

    digests: list[bytes]


class Gone(Message, frozen=True):
    """The upstream has deleted this image: a request through the worker asked it to."""

    image_id: str


class Doubt(Message, frozen=True):
    """This chunk's bytes, or its file, were not what they should be: read and hash it again."""

    request: int
    digest: bytes
    size: int


class Hung(Message, frozen=True):
    """The disk has not given this worker a chunk in time."""


class Used(Message, frozen=True):
    """Images were answered from the cache alone, so many times since the last word."""

    counts: dict[str, int]


class Manage(Message, frozen=True):
    """An administrator orders something; answered with `Managed` until that ends it."""

    request: int
    order: AnyOrder


# --- keeper to worker ---------------------------------------------------------------------------


class Described(Message, frozen=True):
    """`facts` None: nothing; `proven`: by the image's hash, or a published manifest."""

    request: int
    facts: ImageFacts | None
    proven: bool


class Opened(Message, frozen=True):
    """The reader exists, and chunks will come."""

    reader: int
    proven: bool
    chunk_bytes: int


RefusalKind = Literal["no-room", "never-fits", "distrusted"]


class Refused(Message, frozen=True):
    """The cache will not hold this image now: stream it through."""

    reader: int
    kind: RefusalKind


class Recipient(msgspec.Struct, frozen=True, array_like=True):
    """A reader, and which of its chunks it gets; `fetched` after the reader was opened."""

    reader: int
    index: int
    fetched: bool


class Chunk(Message, frozen=True):
    """A chunk for one or more readers, with its descriptor, one for all, beside the message."""

    recipients: list[Recipient]
    digest: bytes
    size: int
    identity: Identity
    proven_at: float  # time.monotonic(), which is the same in all processes


FailureKind = Literal["source", "storage", "proof"]


class Failed(Message, frozen=True):
    """No more chunks for this reader; `proof` means that the bytes so far may be wrong."""

    reader: int
    kind: FailureKind


class Dying(Message, frozen=True):
    """Close this chunk's descriptors as soon as nobody sends from them, then return them."""

    digest: bytes


class Settled(Message, frozen=True):
    """The chunk was read and hashed again, and set aside if it is damaged."""

    request: int


class Managed(Message, frozen=True):
    """What became of an order, or a part of it."""

    request: int
    reply: AnyReply


class Disk(Message, frozen=True):
    """Whether the cache's disk is used from now on; until the first word it is.

    While it is not, no reader gets chunks, nobody need ask, and files held open are let go of.
    """

    usable: bool


class Alive(Message, frozen=True):
    """The keeper's loop turns; sent every second."""


FromWorker = (
    Describe | Adopt | Open | Grant | Close | Return | Hold | Touch | Gone | Doubt | Hung
    | Used | Manage
)  # fmt: skip
FromKeeper = (
    Described | Opened | Refused | Chunk | Failed | Dying | Settled | Managed | Disk | Alive
)

ALIVE_SECONDS = 1.0

encode = msgspec.msgpack.Encoder().encode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
decode_from_keeper = msgspec.msgpack.Decoder(FromKeeper).decode
