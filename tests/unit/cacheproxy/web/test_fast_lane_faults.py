"""The fast lane when files leave memory or change under it, and when something breaks: nothing is left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable

import pytest

from backends.spans import Span
from cacheproxy import chunkread
from cacheproxy.chunkread import OpenPart
from cacheproxy.errors import StorageError
from cacheproxy.headers import Headers
from cacheproxy.metrics import SERVED_BYTES
from cacheproxy.serve import Download, Image, Images
from fuzz.answers import answers
from fuzz.sides import Client, soon
from fuzz.world import CHUNK_BYTES
from harness.lane_case import LARGE, SIZE, World, asked

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


@pytest.fixture
def brought(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """What was brought by downloads."""
    spans: list[Span] = []
    images = world.side.images

    def opened(image: Image, span: Span, headers: Headers) -> Awaitable[Download]:
        spans.append(span)
        return Images.open(images, image, span, headers)

    monkeypatch.setattr(images, "open", opened)
    return spans


async def test_one_chunk_that_has_left_memory_is_brought_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, brought: list[Span]
) -> None:
    absent = world.path(2).stat().st_ino

    def resident(fd: int, *_: int) -> bool:
        return os.fstat(fd).st_ino != absent

    monkeypatch.setattr(chunkread, "resident", resident)
    client = await world.connect(narrow=True)
    client.send(asked())
    (answer,) = await world.read(client)
    assert answer.body == LARGE
    assert brought == [Span(2 * CHUNK_BYTES, 3 * CHUNK_BYTES)]
    client.leave()
    await world.gone()
    assert world.total("hit") == 1
    assert [told[0].sent_bytes for told in world.sent] == [SIZE]


async def test_more_is_brought_at_once_where_all_has_left_memory(
    world: World, brought: list[Span]
) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    world.nothing_is_in_memory()
    (answer,) = await world.read(client)
    assert answer.body == LARGE
    stops = [-(-span.stop // CHUNK_BYTES) - span.start // CHUNK_BYTES for span in brought]
    assert stops[:-1] == [1, 2, 4][: len(stops) - 1]
    assert [span.stop for span in brought] == [*(span.start for span in brought[1:]), SIZE]


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
