"""Clients that leave at any byte, or say no more, or take no more: nothing is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, get_args

import pytest

from cacheproxy.metrics import CONNECTIONS, LEASES
from cacheproxy.web import front
from fuzz.answers import answers
from fuzz.conversation import Event, Kind
from fuzz.sides import Client, Side, soon
from fuzz.world import CHUNK_BYTES, DATA, Files

Way = Literal["closes", "resets", "says no more"]
WAYS: tuple[Way, ...] = get_args(Way)
LANES: tuple[Kind, ...] = ("fast", "guarded", "slow")

CALLER = (b"X-Auth-Token: member", b"User-Agent: curl")
FIELDS = b"\r\n".join((b"Host: node.example:9292", *CALLER, b"", b""))
ASKED = {
    "whole": b"GET /v2/images/large/file HTTP/1.1\r\n" + FIELDS,
    "range": b"GET /v2/images/large/file HTTP/1.1\r\nRange: bytes=1-4096\r\n" + FIELDS,
    "odd": b"GET /v2/images/large/file? HTTP/1.1\r\n" + FIELDS,
    "changing": b"POST /v2/images HTTP/1.1\r\nContent-Length: 5\r\n" + FIELDS + b"12345",
}
BUFFER_BYTES = 4096  # the kernel makes a little more of it
HEAD_BYTES = 330  # of an answer, about
SIZE = len(DATA["large"])


@asynccontextmanager
async def serving(directory: Path, kind: Kind) -> AsyncIterator[Side]:
    """Run a worker that knows the caller; at the end nothing is left of anybody."""
    before = asyncio.all_tasks()
    files = Files(directory)
    side = Side(files, kind)
    try:
        await side.know(CALLER)
        yield side
    finally:
        await side.close()
        files.close()
    await soon(lambda: asyncio.all_tasks() <= before)


async def leave(client: Client, way: Way) -> None:
    """Have a client go in a way."""
    if way == "says no more":
        client.say_all()
        await until_came(client, lambda: client.ended)
    client.leave(politely=way != "resets")


async def asks_well(client: Client) -> None:
    """Have a client ask for a range, and get it."""
    client.received.clear()
    client.send(ASKED["range"])
    await until_came(client, lambda: bytes(client.received).endswith(DATA["large"][1:4097]))
    assert [each.status for each in answers(bytes(client.received))] == [206]


async def until_came(client: Client, condition: Callable[[], bool]) -> None:
    """Read until something has come true."""
    await soon(lambda: (client.read() or True) and condition())


def held(side: Side) -> tuple[float, float]:
    """Return how many connections and leases there are."""
    return side.board.total(CONNECTIONS), side.board.total(LEASES)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("kind", LANES)
async def test_at_every_byte_of_a_request(tmp_path: Path, kind: Kind, what: str, way: Way) -> None:
    async with serving(tmp_path, kind) as side:
        other = await side.connect()
        for length in range(len(ASKED[what]) + 1):
            client = await side.connect()
            client.send(ASKED[what][:length])
            await side.settle(client)
            await leave(client, way)
            await soon(lambda: held(side) == (1, 0))
        await asks_well(other)
        other.leave()
        await soon(lambda: held(side) == (0, 0))


PLACES = sorted(
    {
        *(0, 1, 100, SIZE - 1, SIZE, SIZE + HEAD_BYTES - 1),
        *range(HEAD_BYTES - 20, HEAD_BYTES + 20),
        *(at + d for at in range(0, SIZE, CHUNK_BYTES) for d in (HEAD_BYTES - 1, HEAD_BYTES + 1)),
        *(at + HEAD_BYTES for at in (4096, 16_384, 16_385, 100_000)),
    }
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["whole", "range"])
@pytest.mark.parametrize("kind", LANES)
async def test_in_the_middle_of_an_answer(tmp_path: Path, kind: Kind, what: str, way: Way) -> None:
    async with serving(tmp_path, kind) as side:
        other = await side.connect()
        leases = 0.0
        for place in PLACES:
            client = await side.connect(buffer_bytes=BUFFER_BYTES)
            client.send(ASKED[what])
            await until_taken(client, place)
            leases += held(side)[1]
            await leave(client, way)
            if way == "says no more" and kind == "fast":
                (answer,) = answers(bytes(client.received))
                assert answer.complete
            await soon(lambda: held(side) == (1, 0))
        assert leases > 0 or what == "range", "nobody left in the middle"
        await asks_well(other)
        other.leave()
        await soon(lambda: held(side) == (0, 0))


async def until_taken(client: Client, place: int) -> None:
    """Take so many bytes of an answer, or all of it if it is shorter."""

    def taken() -> bool:
        client.read(place - len(client.received))
        return len(client.received) >= place or whole(client.received)

    await soon(taken)


def whole(received: bytes | bytearray) -> bool:
    """Whether this is all of an answer."""
    head, end, body = bytes(received).partition(b"\r\n\r\n")
    return bool(end) and f"Content-Length: {len(body)}\r\n".encode() in head


@pytest.mark.parametrize("kind", LANES)
async def test_who_takes_nothing_is_left_in_the_end(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("front", "outlet"):
        monkeypatch.setattr(f"cacheproxy.web.{module}.STALL_SECONDS_MAX", 0.05)
    monkeypatch.setattr(front, "SWEEP_SECONDS", 0.01)
    async with serving(tmp_path, kind) as side:
        other = await side.connect()
        slow = await side.connect(buffer_bytes=BUFFER_BYTES)
        slow.send(ASKED["whole"])
        await soon(lambda: held(side)[1] > 0)
        await asks_well(other)
        await soon(lambda: held(side) == (1, 0))
        await asks_well(other)
        await until_came(slow, lambda: slow.ended)
        (answer,) = answers(bytes(slow.received))
        assert not answer.complete
        slow.leave()
        other.leave()


@pytest.mark.parametrize("kind", LANES)
async def test_who_pauses_gets_all_of_it(tmp_path: Path, kind: Kind) -> None:
    async with serving(tmp_path, kind) as side:
        other = await side.connect()
        slow = await side.connect(buffer_bytes=BUFFER_BYTES)
        slow.send(ASKED["whole"])
        for place in PLACES:
            await until_taken(slow, place)
            await asks_well(other)
        await until_came(slow, lambda: bytes(slow.received).endswith(DATA["large"][-100:]))
        (answer,) = answers(bytes(slow.received))
        assert answer.body == DATA["large"]
        slow.leave()
        other.leave()


@pytest.mark.parametrize("kind", LANES)
async def test_who_asks_again_before_he_has_the_answer(tmp_path: Path, kind: Kind) -> None:
    async with serving(tmp_path, kind) as side:
        for place in PLACES[::3]:
            client = await side.connect(buffer_bytes=BUFFER_BYTES)
            client.send(ASKED["whole"])
            await until_taken(client, place)
            client.send(ASKED["range"] + ASKED["whole"])
            await asyncio.sleep(0)
            client.send(ASKED["range"])
            await until_came(client, lambda: client.received.count(b"HTTP/1.1 20") == 4)  # noqa: B023  at once
            await until_came(client, lambda: client.received.endswith(DATA["large"][1:4097]))  # noqa: B023  at once
            bodies = [each.body for each in answers(bytes(client.received))]
            assert bodies == [DATA["large"], DATA["large"][1:4097]] * 2
            client.leave()
            await soon(lambda: held(side) == (0, 0))


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("kind", LANES)
async def test_what_happens_in_the_middle_of_an_answer(
    tmp_path: Path, kind: Kind, event: Event
) -> None:
    for place in PLACES[::3]:
        directory = tmp_path / str(place)
        directory.mkdir()
        async with serving(directory, kind) as side:
            client = await side.connect(buffer_bytes=BUFFER_BYTES)
            client.send(ASKED["whole"])
            await until_taken(client, place)
            side.happen(event)
            await until_came(client, lambda: whole(client.received))  # noqa: B023  at once
            (answer,) = answers(bytes(client.received))
            assert answer.body == DATA["large"]
            await asks_well(client)
            client.leave()
            await soon(lambda: held(side) == (0, 0))
