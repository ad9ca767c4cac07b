"""What is at hand: judged by the record as it is, in a file that is still the image's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from backends.keptfile import KeptFile
from backends.spans import Span
from backends.threads import Threads
from harness.waiting import until_async
from registry.domain.errors import NoDataError
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.image import Image, ImageLocation, Visibility
from registry.domain.status import Status
from registry.service import athand as module
from registry.service.athand import AtHand
from registry.service.downloads import Data

NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's are
CONTENT = b"0123456789"
IMAGE = Image(
    id="one",
    created_at=NOW,
    updated_at=NOW,
    status=Status.ACTIVE,
    owner="p",
    size=len(CONTENT),
    locations=(ImageLocation("file:///one"),),
    members=("guest",),
)
OWNER, GUEST, STRANGER = (Identity(each, "u", is_admin=False) for each in ("p", "guest", "q"))


class World:
    """Records that are certain, and downloads of them from real files."""

    def __init__(self, descriptor: int, threads: Threads) -> None:
        self.certain = {"one": IMAGE}
        self._descriptor = descriptor
        self._threads = threads
        self.at_hand = AtHand(cast("Any", self), cast("Any", self))
        self.opened: list[int] = []

    def known(self, image_id: str) -> Image | None:
        return self.certain.get(image_id)

    def data_of(self, image: Image) -> Data:
        if not image.locations:
            raise NoDataError(image.id)
        return Data(image.id, len(CONTENT), image.checksum, image.locations)

    def keep(self) -> KeptFile:
        """Be an open download."""
        self.opened.append(os.dup(self._descriptor))
        return KeptFile(self.opened[-1], len(CONTENT), self._threads.lane())

    def download(self, image_id: str = "one") -> None:
        self.at_hand.keep(self.data_of(self.certain[image_id]), cast("Any", self))

    async def closed(self) -> list[int]:
        """Wait for what is being closed; return the descriptors that are."""
        while self.at_hand._closing:
            await asyncio.wait(self.at_hand._closing)
        return [each for each in self.opened if not _is_open(each)]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    threads = Threads("files", 1, 30.0)
    path = tmp_path / "file"
    await asyncio.to_thread(path.write_bytes, CONTENT)
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY)
    world = World(descriptor, threads)
    yield world
    await world.at_hand.aclose()
    assert await world.closed() == world.opened
    os.close(descriptor)
    threads.close()


async def test_who_may_read_it(world: World) -> None:
    assert world.at_hand.find(OWNER, "one") is None  # nothing was opened yet
    world.download()
    held = world.at_hand.find(OWNER, "one")
    assert held is not None
    assert held.data.size == len(CONTENT)
    assert world.at_hand.find(GUEST, "one") is held
    assert world.at_hand.find(STRANGER, "one") is None
    assert world.at_hand.find(OWNER, "two") is None


@pytest.mark.parametrize(
    ("change", "still"),
    [
        ({"members": ()}, [OWNER, EVERYBODY]),
        ({"visibility": Visibility.PRIVATE}, [OWNER, EVERYBODY]),
        ({"owner": "q"}, [GUEST, STRANGER, EVERYBODY]),
        ({"status": Status.DEACTIVATED}, [EVERYBODY]),
        ({"visibility": Visibility.PUBLIC}, [OWNER, GUEST, STRANGER, EVERYBODY]),
    ],
)
async def test_the_record_as_it_is_now(
    world: World, change: dict[str, Any], still: list[Identity]
) -> None:
    world.download()
    world.certain["one"] = replace(IMAGE, **change)
    for each in (OWNER, GUEST, STRANGER, EVERYBODY):
        assert (world.at_hand.find(each, "one") is not None) == (each in still)


async def test_what_is_not_certain(world: World) -> None:
    world.download()
    del world.certain["one"]
    assert world.at_hand.find(OWNER, "one") is None
    world.certain["one"] = IMAGE
    assert world.at_hand.find(OWNER, "one") is not None


@pytest.mark.parametrize("places", [(), (ImageLocation("file:///other"),)])
async def test_data_that_is_elsewhere(world: World, places: tuple[ImageLocation, ...]) -> None:
    world.download()
    world.certain["one"] = replace(IMAGE, locations=places)
    assert world.at_hand.find(OWNER, "one") is None
    assert await world.closed() == world.opened


async def test_a_file_that_is_gone(world: World, tmp_path: Path) -> None:
    world.download()
    await asyncio.to_thread((tmp_path / "file").unlink)
    assert world.at_hand.find(OWNER, "one") is None
    assert await world.closed() == world.opened


async def test_one_file_for_all(world: World) -> None:
    world.download()
    world.download()
    assert len(world.opened) == 1
    world.certain["one"] = replace(IMAGE, locations=())
    world.at_hand.keep(world.data_of(IMAGE), cast("Any", world))
    assert len(world.opened) == 1


async def test_it_is_closed_when_nobody_uses_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_SECONDS", 0.001)
    world.download()
    world.certain["two"] = replace(IMAGE, id="two")
    world.download("two")
    await until_async("nothing is open", lambda: repr(world.at_hand) == "<AtHand 0 open>")
    assert await world.closed() == world.opened


async def test_there_are_not_too_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILES_MAX", 2)
    for name in ("one", "two", "three"):
        world.certain[name] = replace(IMAGE, id=name)
        world.download(name)
        assert world.at_hand.find(OWNER, "one") is not None
    assert world.at_hand.find(OWNER, "two") is None
    assert await world.closed() == [world.opened[1]]


async def test_it_stays_open_while_it_is_sent(world: World) -> None:
    world.download()
    held = world.at_hand.find(OWNER, "one")
    assert held is not None
    told: list[int] = []
    held.file.on_read = told.append
    download = world.at_hand.download(held, Span(2, 9), Span(2, 9))
    world.certain["one"] = replace(IMAGE, locations=())
    assert world.at_hand.find(OWNER, "one") is None
    assert await world.closed() == []
    download.sent(3)
    assert download.left == 4
    await download.aclose()
    assert told == [3]
    assert await world.closed() == world.opened


async def test_it_looks_now_and_then_what_memory_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.download()
    held = world.at_hand.find(OWNER, "one")
    assert held is not None
    looked: list[Span] = []

    def near(span: Span) -> Span:
        looked.append(span)
        return Span(span.start, span.start + 2)

    monkeypatch.setattr(held.file, "near", near)
    monkeypatch.setattr(module, "SEEN_SECONDS", 1e9)
    download = world.at_hand.download(held, Span(0, 10), Span(0, 4))
    assert download.file() == (held.file.descriptor, Span(0, 4))
    download.sent(3)
    assert download.file() == (held.file.descriptor, Span(3, 4))
    assert not looked
    download.sent(1)
    assert download.file() == (held.file.descriptor, Span(4, 6))
    monkeypatch.setattr(module, "SEEN_SECONDS", -1.0)
    assert download.file() == (held.file.descriptor, Span(4, 6))
    assert looked == [Span(4, 10)] * 2
    await download.aclose()
