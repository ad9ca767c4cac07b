"""What the supervisor and its children say to each other, in msgpack, one message a packet.

Light on purpose: the supervisor imports this, and must not import asyncio.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ConnectionKind = Literal["api", "metrics"]

HEARTBEAT_SECONDS = 1.0


class Order(msgspec.Struct, frozen=True, array_like=True):
    """Anything that the supervisor says."""


class Connection(Order, frozen=True, tag="connection"):
    """To a worker, with the accepted socket: it is yours."""

    kind: ConnectionKind


class KeeperLink(Order, frozen=True, tag="keeper-link"):
    """To a worker, with its end of a new link to the keeper; a former link is void."""

    serial: int  # names this link in LinkLost


class WorkerLink(Order, frozen=True, tag="worker-link"):
    """To the keeper, with its end of a new link to a worker; a former link of that one is void."""

    worker: int
    pid: int  # the worker's process


class Drain(Order, frozen=True, tag="drain"):
    """To any child: finish what is in progress, begin nothing, exit."""


class LetGo(Order, frozen=True, tag="let-go"):
    """To a worker: the cache's disk may have to be repaired, close what you hold of it."""


class Purged(Order, frozen=True, tag="purged"):
    """To a worker: an image changed, forget what you believe about it."""

    image: str | None  # None: any of them may have


class Told(Order, frozen=True, tag="told"):
    """To a worker: another one has given a signed URL, these headers stand for it; see Tell."""

    name: str
    headers: list[tuple[str, str]]
    until: int  # seconds since 1970: when it ends

    def __repr__(self) -> str:
        return f"Told({self.name})"  # never the headers


class Reload(Order, frozen=True, tag="reload"):
    """To the keeper: from now on these hold; it answers Reloaded."""

    limit_bytes: int
    project_share: int


class Certify(Order, frozen=True, tag="certify"):
    """To a worker: show this certificate to clients who come from now on."""

    chain: bytes
    key: bytes
    authorities: bytes

    def __repr__(self) -> str:
        """Keep the key to itself."""
        return "<Certify>"


class Report(msgspec.Struct, frozen=True, array_like=True):
    """Anything that a child says."""


class Heartbeat(Report, frozen=True, tag="heartbeat"):
    """From a child's loop, every HEARTBEAT_SECONDS: it turns."""


class Ready(Report, frozen=True, tag="ready"):
    """From a child, once: it serves."""


class Waiting(Report, frozen=True, tag="waiting"):
    """From the keeper: its disk does not let it serve yet; nobody need wait for it."""


class ConnectionClosed(Report, frozen=True, tag="closed"):
    """From a worker: how many of the connections it was given have ended, ever."""

    total: int


class LinkLost(Report, frozen=True, tag="link-lost"):
    """From a worker: its link to the keeper ended; another one is welcome."""

    serial: int


class Purge(Report, frozen=True, tag="purge"):
    """From any child: an image changed; tell the other workers."""

    image: str | None  # None: any of them may have


class Tell(Report, frozen=True, tag="tell"):
    """From a worker: it has given a signed URL; tell the other workers whose token it is for."""

    name: str
    headers: list[tuple[str, str]]
    until: int  # seconds since 1970: when it ends

    def __repr__(self) -> str:
        return f"Tell({self.name})"  # never the headers


class Reloaded(Report, frozen=True, tag="reloaded"):
    """From the keeper: whether it could take what Reload said; if not, it has logged why."""

    taken: bool


AnyOrder = Connection | KeeperLink | WorkerLink | Drain | Purged | LetGo | Told | Reload | Certify
AnyReport = Heartbeat | Ready | Waiting | ConnectionClosed | LinkLost | Purge | Tell | Reloaded

encode = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder(AnyOrder).decode
decode_report = msgspec.msgpack.Decoder(AnyReport).decode
