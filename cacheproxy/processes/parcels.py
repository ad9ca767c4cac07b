"""The chunks that one worker is sent, those of one turn of the loop together.

When a chunk lands, everybody who waits for it is woken in the same turn: a herd of readers of one
worker gets it in one message, with one descriptor, which the worker closes and returns once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from cacheproxy.processes.messages import Chunk, Recipient
from cacheproxy.store.chunkstore import OpenChunk


@dataclass(slots=True, eq=False)
class _Parcel:
    number: int
    digest: bytes
    opened: OpenChunk
    size: int
    recipients: list[Recipient]


class Parcels:
    """Collects chunks and sends them before the loop's next turn, each reader's in their order.

    `hold` is called when a descriptor is to be sent, `send` to send it; it stays ours.
    """

    def __init__(
        self, hold: Callable[[bytes], None], send: Callable[[Chunk, tuple[int]], None]
    ) -> None:
        self._hold = hold
        self._send = send
        self._parcels: list[_Parcel] = []
        self._latest: dict[bytes, _Parcel] = {}  # by digest
        self._last: dict[int, int] = {}  # the number of the last parcel for each reader

    def __repr__(self) -> str:
        return f"<Parcels {len(self._parcels)}>"

    def add(self, recipient: Recipient, digest: bytes, opened: OpenChunk, size: int) -> None:
        """Send a chunk to a reader; its descriptor is taken over."""
        if self.join(recipient, digest):
            os.close(opened.fd)
            return
        if not self._parcels:
            asyncio.get_running_loop().call_soon(self.flush)
        parcel = _Parcel(len(self._parcels), digest, opened, size, [recipient])
        self._latest[digest] = parcel
        self._parcels.append(parcel)
        self._hold(digest)
        self._last[recipient.reader] = parcel.number

    def join(self, recipient: Recipient, digest: bytes) -> bool:
        """Send a chunk to one more reader, if it is to be sent to others already."""
        parcel = self._latest.get(digest)
        # One that is sent before another of this reader's would come out of its order.
        if parcel is None or parcel.number < self._last.get(recipient.reader, 0):
            return False
        parcel.recipients.append(recipient)
        self._last[recipient.reader] = parcel.number
        return True

    def flush(self) -> None:
        """Send what there is."""
        parcels, self._parcels = self._parcels, []
        self._latest.clear()
        self._last.clear()
        for parcel in parcels:
            opened = parcel.opened
            try:
                self._send(
                    Chunk(
                        parcel.recipients,
                        parcel.digest,
                        parcel.size,
                        opened.identity,
                        opened.proven_at,
                    ),
                    (opened.fd,),
                )
            finally:
                os.close(opened.fd)
