"""What one reader is given, by what he takes: not what he has, and nothing that goes along with others."""

from __future__ import annotations

import asyncio
import os
import random

from cacheproxy.fill.delivery import Delivery
from cacheproxy.store.chunkstore import OpenChunk
from harness.fill_case import CHUNK, Case, credential_for, facts_of
from harness.origin import OriginImage

COUNT = 8
DATA = random.Random(7).randbytes(COUNT * CHUNK)


class Taker:
    """Notes which chunks come, and which it got along with others."""

    def __init__(self, along: range = range(0)) -> None:
        self.came: list[int] = []
        self.joined: list[int] = []
        self._along = along
        self.news = asyncio.Event()

    def deliver(self, index: int, _: bytes, opened: OpenChunk, __: bool) -> None:
        os.close(opened.fd)
        self.came.append(index)
        self.news.set()

    def join(self, index: int, _: bytes, __: bool) -> bool:
        if index not in self._along:
            return False
        self.joined.append(index)
        return True

    async def until(self, count: int) -> None:
        while len(self.came) < count:
            self.news.clear()
            await self.news.wait()


async def delivery_to(case: Case, image: OriginImage, taker: Taker) -> Delivery:
    content = await case.admit(image)
    return Delivery(
        case.flights,
        case.store,
        case.settings,
        facts=facts_of(image),
        content=content,
        span=content.grid.whole,
        credential=credential_for(image),
        deliver=taker.deliver,
        join=taker.join,
    )


async def test_what_a_reader_has_is_not_sent_to_him(case: Case) -> None:
    image = case.origin.add(DATA)
    assert await case.read(image).task == DATA
    await case.idle()
    taker = Taker()
    delivery = await delivery_to(case, image, taker)
    running = asyncio.create_task(delivery.run())
    delivery.grant(2)
    await taker.until(2)
    delivery.grant(4, first=4)  # he waits at 2
    delivery.grant(6, first=5)
    await taker.until(3)
    delivery.grant(COUNT, first=COUNT)
    await running
    assert taker.came == [0, 1, 5]


async def test_what_goes_to_others_is_not_opened_again(case: Case) -> None:
    image = case.origin.add(DATA)
    assert await case.read(image).task == DATA
    await case.idle()
    taker = Taker(along=range(1, 4))
    delivery = await delivery_to(case, image, taker)
    delivery.grant(COUNT)
    await delivery.run()
    assert taker.joined == [1, 2, 3]
    assert taker.came == [0, 4, 5, 6, 7]
