"""A worker's fast lane with real sockets and chunk files, and its clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.spans import Span
from cacheproxy.metrics import CONNECTIONS, EQUATIONS, LEASES, REQUESTS
from cacheproxy.web.image_file import Sent
from cacheproxy.web.lane import Lane
from cacheproxy.web.witness import Witness
from fuzz.answers import Answer, answers
from fuzz.sides import Client, Side, soon
from fuzz.world import DATA, Files

CALLER = (b"X-Auth-Token: member", b"User-Agent: curl")
FIELDS = b"\r\n".join((b"Host: node.example", *CALLER, b"", b""))
LARGE = DATA["large"]
SIZE = len(LARGE)
BUFFER_BYTES = 4096  # the kernel makes a little more of it
WHOLE = Span(0, SIZE)


def asked(span: Span | None = None, image_id: str = "large") -> bytes:
    wanted = b"" if span is None else b"Range: bytes=%d-%d\r\n" % (span.start, span.stop - 1)
    return b"GET /v2/images/%s/file HTTP/1.1\r\n%s%s" % (image_id.encode(), wanted, FIELDS)


class Noting(Witness):
    """Keeps what it is told."""

    def __init__(self, sent: list[tuple[Sent, str | None, str | None]]) -> None:
        self.sent = sent

    def __call__(self, sent: Sent, address: str | None, token: str | None) -> None:
        self.sent.append((sent, address, token))


class World:
    """A worker that knows the caller and has all files open."""

    def __init__(self, directory: Path, patches: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.patches = patches
        self.files = Files(directory)
        self.side = Side(self.files, "fast")
        self.sent: list[tuple[Sent, str | None, str | None]] = []
        self.side.fast._witness = Noting(self.sent)
        self.clients: list[Client] = []

    async def connect(self, *, narrow: bool = False) -> Client:
        self.clients.append(await self.side.connect(buffer_bytes=BUFFER_BYTES if narrow else None))
        return self.clients[-1]

    async def read(self, client: Client, count: int = 1) -> list[Answer]:
        """Read so many answers."""
        found: list[Answer] = []

        def come() -> bool:
            client.read()
            if b"\r\n\r\n" not in client.received:
                return False
            found[:] = answers(bytes(client.received))
            last = found[-1]
            length = int(dict(last.fields)[b"content-length"])
            return len(found) == count and len(last.body) == length

        await soon(come)
        client.received.clear()
        return found

    async def taken_in_part(self, client: Client, wanted: bytes = b"") -> None:
        """Have a client ask, and not read; the answer does not fit into the socket."""
        client.send(wanted or asked())
        await soon(lambda: any(lane.sending and lane.outlet.full for lane in self.lanes))

    @property
    def lanes(self) -> set[Lane]:
        return self.side.door._lanes

    @property
    def told(self) -> list[tuple[object, ...]]:
        """What the upstream was asked."""
        return [told for told in self.side.told if isinstance(told, tuple)]

    def total(self, result: str) -> int:
        return int(self.side.board.total(REQUESTS, (result,)))

    def nothing_is_in_memory(self) -> None:
        self.patches.setattr("cacheproxy.chunkread.resident", lambda *_: False)

    def path(self, index: int) -> Path:
        return self.directory / f"large-{index}"

    def digest(self, index: int) -> bytes:
        return self.files.chunks["large", index][0]

    async def gone(self) -> None:
        """Wait until nothing is left of any connection, and look at the sums."""
        board = self.side.board
        await soon(lambda: not self.lanes and not board.total(LEASES))
        await soon(lambda: not self.side.fast._tasks)
        assert board.total(CONNECTIONS) == 0
        assert [str(each) for each in EQUATIONS if not each.holds(board.total)] == []
