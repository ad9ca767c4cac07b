"""The fast lane with real sockets and chunk files: what it sends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from backends.spans import Span
from cacheproxy.chunkread import OpenPart
from cacheproxy.config import CacheSettings
from cacheproxy.errors import KeeperError, StorageError
from cacheproxy.metrics import CONNECTIONS, EQUATIONS, LEASES, REQUESTS, SERVED_BYTES
from cacheproxy.serve import Images
from cacheproxy.web import front
from cacheproxy.web.fast_lane import COPIED_BYTES_MAX
from cacheproxy.web.image_file import Sent
from cacheproxy.web.lane import Lane
from cacheproxy.web.witness import Witness
from fuzz.answers import Answer, answers
from fuzz.sides import Client, Side, soon
from fuzz.world import CHUNK_BYTES, DATA, Files, Reader
from harness.authority import HERE, Authority

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


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = World(tmp_path, monkeypatch)
    await made.side.know(CALLER)
    yield made
    for client in made.clients:
        client.leave()
    await made.gone()
    await made.side.close()
    made.files.close()


SPANS = [
    Span(0, 1),
    Span(SIZE - 1, SIZE),
    Span(5, COPIED_BYTES_MAX + 5),
    Span(5, COPIED_BYTES_MAX + 6),
    Span(0, CHUNK_BYTES),
    Span(CHUNK_BYTES, 2 * CHUNK_BYTES),
    Span(CHUNK_BYTES - 1, CHUNK_BYTES + 1),
    Span(CHUNK_BYTES - 1, 3 * CHUNK_BYTES + 1),
    Span(1, SIZE - 1),
    Span(SIZE // CHUNK_BYTES * CHUNK_BYTES, SIZE),
    WHOLE,
]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("span", [None, *SPANS], ids=str)
async def test_every_span(world: World, span: Span | None, narrow: bool) -> None:
    client, of = await world.connect(narrow=narrow), WHOLE if span is None else span
    for _ in range(2):  # an answer leaves the connection as it was
        client.send(asked(span))
        (answer,) = await world.read(client)
        assert answer.status == (200 if span is None else 206)
        assert answer.body == LARGE[of.start : of.stop]
        shown = f"bytes {of.start}-{of.stop - 1}/{SIZE}".encode()
        assert dict(answer.fields).get(b"content-range") == (None if span is None else shown)
    client.leave()
    await world.gone()
    assert world.side.fast_requests == world.total("hit") == 2
    assert world.side.board.total(SERVED_BYTES, ("cache",)) == 2 * len(of)
    assert [told[0].sent_bytes for told in world.sent] == [len(of)] * 2


async def test_what_is_not_there_is_left_to_others(world: World) -> None:
    client = await world.connect()
    client.send(asked(Span(SIZE, SIZE + 1)))
    (answer,) = await world.read(client)
    assert answer.status == 416
    assert world.side.fast_requests == 0


async def test_a_range_that_runs_over_the_end_is_cut(world: World) -> None:
    client = await world.connect()
    client.send(asked(Span(SIZE - 10, SIZE + 10)))
    (answer,) = await world.read(client)
    assert answer.body == LARGE[-10:]
    assert world.side.fast_requests == 1


async def test_long_answers_lease_a_window_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cacheproxy.web.fast_lane.WINDOW_BYTES", SIZE // 3)
    monkeypatch.setattr("cacheproxy.web.answer.WINDOW_BYTES", SIZE // 5)
    monkeypatch.setattr("cacheproxy.web.answer.TURN_BYTES", SIZE // 7)
    client = await world.connect()
    for number, span in enumerate((WHOLE, Span(1, SIZE), Span(7, SIZE - 7)), 1):
        client.send(asked(span))
        (answer,) = await world.read(client)
        assert answer.body == LARGE[span.start : span.stop]
        assert world.side.fast_requests == number


async def test_over_tls(world: World, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(
        loop.connect_accepted_socket(partial(world.side.door, None), theirs, ssl=authority.server())
    )
    trusting = ssl.create_default_context(cafile=str(authority.cafile))
    reader, writer = await asyncio.open_connection(sock=ours, ssl=trusting, server_hostname=HERE)
    await serving
    for span in (Span(7, 7 + COPIED_BYTES_MAX), WHOLE, Span(0, 1)):
        writer.write(asked(span))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 206 ")
        assert await reader.readexactly(len(span)) == LARGE[span.start : span.stop]
    writer.close()
    await writer.wait_closed()
    await world.gone()
    assert world.side.fast_requests == 3


# --- what happens to the files meanwhile ------------------------------------------------------------


async def test_pages_that_leave_memory_in_the_midst_are_brought(world: World) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    world.nothing_is_in_memory()
    (answer,) = await world.read(client)
    assert answer.body == LARGE
    client.leave()
    await world.gone()
    assert (world.side.fast_requests, world.total("hit")) == (1, 1)
    assert world.side.board.total(SERVED_BYTES, ("cache",)) == SIZE


async def test_cold_files_are_left_to_others_from_the_start(world: World) -> None:
    world.nothing_is_in_memory()
    client = await world.connect()
    for span in (None, Span(3, 5)):
        client.send(asked(span))
        (answer,) = await world.read(client)
        assert answer.body == (LARGE if span is None else LARGE[3:5])
    assert world.side.fast_requests == 0


async def test_files_that_are_wanted_back_are_sent_to_their_end(world: World) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    for index in range(5):
        world.side.hot.expel(world.digest(index))
    assert not [told for told in world.side.told if told == ("closed", world.digest(4))]
    (answer,) = await world.read(client)
    assert answer.body == LARGE
    client.leave()
    await world.gone()
    for index in range(5):
        assert world.side.told.count(("closed", world.digest(index))) == 1
    assert world.side.fast_requests == world.total("hit") == 1


async def test_a_file_that_somebody_wrote_to_is_not_sent(world: World) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    world.path(3).chmod(0o640)
    world.path(3).write_bytes(bytes(CHUNK_BYTES))
    client.received.clear()
    (answer,) = await world.read(client)
    assert answer.body == LARGE, "the upstream has it"
    assert ("doubt", world.digest(3), CHUNK_BYTES) in world.side.told
    client.leave()
    await world.gone()
    assert (world.total("hit"), world.total("bypass")) == (0, 1)
    assert [told[0].result for told in world.sent] == ["bypass"]


# --- clients that leave -----------------------------------------------------------------------------


async def test_who_leaves_while_others_send_is_counted_as_served_by_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bypass is not a hit because its client did not stay to the end."""
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)

    def away(*_: object) -> Reader:
        raise KeeperError("away")

    monkeypatch.setattr(world.side.keeper, "read", away)
    world.side.hot.clear()
    world.nothing_is_in_memory()
    (lane,) = world.lanes
    await soon(lambda: bool(client.read(2000)) and bool(world.side.fast._tasks))
    await soon(lambda: ("stream", "large") in [told[:2] for told in _told(world)])  # it is asked
    client.leave(politely=False)
    await world.gone()
    assert not lane.sending
    assert (world.total("hit"), world.total("bypass")) == (0, 1)
    assert [told[0].result for told in world.sent] == ["bypass"]


def _told(world: World) -> list[tuple[object, ...]]:
    return [told for told in world.side.told if isinstance(told, tuple)]


async def test_who_resets_in_the_midst_leaves_nothing(world: World) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    assert world.side.board.total(LEASES) > 0
    client.leave(politely=False)
    await world.gone()
    assert world.total("hit") == 1
    assert world.sent[0][0].sent_bytes < SIZE


# --- errors -----------------------------------------------------------------------------------------


async def test_nothing_that_can_be_brought_breaks_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)

    async def fails(*_: object) -> None:
        raise StorageError("no")

    monkeypatch.setattr(world.side.images, "open", fails)
    world.nothing_is_in_memory()
    await reset_comes(client)
    client.leave()
    await world.gone()
    assert (world.total("hit"), world.total("error")) == (0, 1)


@pytest.mark.parametrize("error", [RuntimeError, OSError])
async def test_an_error_in_the_midst_breaks_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)

    def fails(*_: object) -> int:
        raise error

    monkeypatch.setattr(OpenPart, "send", fails)
    await reset_comes(client)
    client.leave()
    await world.gone()
    assert sum(world.total(result) for result in ("hit", "error")) == 1


async def reset_comes(client: Client) -> None:
    """Read to the end, which comes too early."""
    await soon(lambda: client.read() and client.ended)
    (answer,) = answers(bytes(client.received))
    assert not answer.complete


async def test_an_error_before_the_first_byte_gives_everything_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop tells of it, and ends the connection."""
    told: list[str] = []
    loop = asyncio.get_running_loop()
    former = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))

    def fails(*_: object) -> int:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(OpenPart, "send", fails)
    client = await world.connect()
    client.send(asked())
    await soon(lambda: client.read() and client.ended)
    client.leave()
    await world.gone()
    loop.set_exception_handler(former)
    assert told == ["a mistake"]


# --- pipelines, and what aiohttp does beside it -------------------------------------------------------


async def test_a_request_that_comes_too_early_waits_and_is_aiohttps(world: World) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    client.send(asked(Span(0, 10)))
    (lane,) = world.lanes
    await soon(lambda: bool(lane._held))
    client.send(asked(Span(10, 20)))  # not read meanwhile
    first, second, third = await world.read(client, 3)
    assert (first.body, second.body, third.body) == (LARGE, LARGE[:10], LARGE[10:20])
    assert world.side.fast_requests == 1
    client.send(asked(Span(20, 30)))
    (answer,) = await world.read(client)
    assert answer.body == LARGE[20:30]


async def test_after_a_whole_request_within_the_fast_lane_goes_on(world: World) -> None:
    client = await world.connect()
    for expected in (0, 1, 1, 2):
        odd = b"GET /v2/images HTTP/1.1\r\n" + FIELDS
        client.send(asked(Span(0, 10)) if expected > world.side.fast_requests else odd)
        await world.read(client)
        assert world.side.fast_requests == expected


async def test_aiohttp_is_told_that_the_connection_is_full(world: World) -> None:
    """It may be made in the middle of that, when the fast lane has left something to the transport."""
    client = await world.connect(narrow=True)
    client.send(asked(Span(0, 10)))
    await world.read(client)
    (lane,) = world.lanes
    # As the end of an answer that the socket did not take.
    rest = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + LARGE
    lane.outlet.write(rest)
    assert lane.outlet.full
    client.send(asked(Span(0, 10)))
    await soon(lambda: lane._inner is not None)
    assert lane.outlet.full
    first, second = await world.read(client, 2)
    assert (first.body, second.body) == (LARGE, LARGE[:10])
    assert not lane.outlet.full


# --- permission -------------------------------------------------------------------------------------


async def test_each_request_is_decided_anew(world: World) -> None:
    client = await world.connect()
    client.send(asked(Span(0, 10)))
    await world.read(client)
    questions = len(_questions(world))
    world.side.permissions.purge("large")
    client.send(asked(Span(0, 10)))
    await world.read(client)
    assert len(_questions(world)) == questions + 1
    assert world.side.fast_requests == 1
    world.side.images.memory.purge("large")
    client.send(asked(Span(0, 10)))
    await world.read(client)
    assert world.side.fast_requests == 1, "its record is looked at before"


def _questions(world: World) -> list[tuple[object, ...]]:
    return [told for told in _told(world) if told[0] == "may"]


async def test_another_token_on_the_same_connection_is_another_caller(world: World) -> None:
    client = await world.connect()
    client.send(asked(Span(0, 10)))
    await world.read(client)
    client.send(asked(Span(0, 10)).replace(b"member", b"stranger"))
    await world.read(client)
    assert world.side.fast_requests == 1
    assert ("X-Auth-Token", "stranger") in _questions(world)[-1][2]  # type: ignore[operator]  # its headers


@pytest.mark.parametrize(("verify", "fast"), [("always", 0), ("never", 1), ("disk-read", 1)])
async def test_verify(world: World, verify: str, fast: int) -> None:
    side = world.side
    settings = CacheSettings(verify=verify)  # type: ignore[arg-type]  # one of three words
    images = Images(side.keeper, side.upstream, side.upstream, settings, side.board.meter(0))
    side.images.chunks.close()
    side.images.chunks = images.chunks
    client = await world.connect()
    client.send(asked())
    (answer,) = await world.read(client)
    assert answer.body == LARGE
    client.leave()
    await world.gone()
    assert side.fast_requests == fast


# --- ends ---------------------------------------------------------------------------------------------


async def test_a_drain_waits_for_what_is_being_sent(world: World) -> None:
    sending, idle = await world.connect(narrow=True), await world.connect()
    idle.send(asked(Span(0, 10)))
    await world.read(idle)
    await world.taken_in_part(sending)
    draining = asyncio.create_task(world.side.door.drain(60))
    await soon(lambda: world.side.door.fast is None)
    await asyncio.sleep(0)
    assert not draining.done()
    (answer,) = await world.read(sending)
    assert answer.body == LARGE
    await draining
    await soon(lambda: sending.read() | idle.read() and sending.ended and idle.ended)


async def test_a_drain_of_both_lanes(world: World) -> None:
    fast, slow = await world.connect(narrow=True), await world.connect(narrow=True)
    slow.send(asked().replace(b"/file HTTP", b"/file? HTTP"))
    await soon(lambda: any(lane.outlet.full for lane in world.lanes))
    await world.taken_in_part(fast)
    draining = asyncio.create_task(world.side.door.drain(60))
    await soon(lambda: world.side.door.fast is None)
    (answer,) = await world.read(fast)
    assert answer.body == LARGE
    assert not draining.done()
    (answer,) = await world.read(slow)
    assert answer.body == LARGE
    await draining


async def test_a_drain_that_takes_too_long_resets(world: World) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    await world.side.door.drain(0)
    await world.gone()
    with pytest.raises(ConnectionResetError):
        read_all(client.sock)


def read_all(sock: socket.socket) -> None:
    while sock.recv(1 << 20):
        pass


async def test_a_sweep_ends_what_is_idle_and_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, idle = await world.connect(narrow=True), await world.connect()
    idle.send(asked(Span(0, 10)))
    await world.read(idle)
    await world.taken_in_part(sending)
    monkeypatch.setattr(front, "KEEPALIVE_SECONDS", -1.0)
    sweep(world)
    await soon(lambda: idle.read() and idle.ended)
    (answer,) = await world.read(sending)
    assert answer.body == LARGE
    sweep(world)
    await soon(lambda: sending.read() and sending.ended)


@pytest.mark.parametrize("sent", [False, True])
async def test_a_sweep_resets_who_takes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    """Also where only the transport has something left, and nobody waits for it to go."""
    client = await world.connect(narrow=True)
    if sent:
        client.send(asked(Span(0, 10)))
        await world.read(client)
        (lane,) = world.lanes
        lane.outlet.write(LARGE)  # as the end of an answer that the socket did not take
    else:
        await world.taken_in_part(client)
        (lane,) = world.lanes
    assert lane.outlet.full
    sweep(world)
    assert world.lanes == {lane}
    if sent:
        lane.close()  # a polite end waits until all is taken
    monkeypatch.setattr(front, "STALL_SECONDS_MAX", -1.0)
    sweep(world)
    await world.gone()
    await soon(lambda: client.read() and client.ended)
    assert world.total("hit") == 1


def sweep(world: World) -> None:
    timer = world.side.door._sweeping
    assert timer is not None
    timer.cancel()
    world.side.door._sweep()


async def test_without_a_lane_everything_is_the_same(world: World) -> None:
    world.side.door.fast = None
    client = await world.connect(narrow=True)
    client.send(asked())
    (answer,) = await world.read(client)
    assert answer.body == LARGE
    client.leave()
    await world.gone()
    assert (world.side.fast_requests, world.total("hit")) == (0, 1)
