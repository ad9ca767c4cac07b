"""The origin does what a script tells it, and counts it: other tests are only as good as this."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from harness.images import random_bytes
from harness.origin import Content, Origin, OriginImage, origin

DATA = random_bytes(200_000)
UNSATISFIABLE = "bytes=9223372036854775807-"


async def get(
    glance: Origin, image: OriginImage, span: str | None = None, token: str | None = None
) -> tuple[int, bytes]:
    headers = {"Range": span} if span else {}
    if token:
        headers["X-Auth-Token"] = token
    url = f"{glance.url}/v2/images/{image.id}/file"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_whole(framing: str) -> None:
    async with origin() as glance:
        image = glance.add(DATA, framing=framing)
        assert await get(glance, image) == (200, DATA)
        assert (image.sent_bytes, image.data_requests) == (len(DATA), [None])


async def test_empty() -> None:
    async with origin() as glance:
        image = glance.add(b"")
        assert await get(glance, image) == (200, b"")
        assert (await get(glance, image, UNSATISFIABLE))[0] == 416


@pytest.mark.parametrize(
    ("span", "expected"),
    [("0-0", DATA[:1]), ("-5", DATA[-5:]), ("7-", DATA[7:]), ("100-999999", DATA[100:])],
)
async def test_ranges(span: str, expected: bytes) -> None:
    async with origin() as glance:
        image = glance.add(DATA)
        assert await get(glance, image, f"bytes={span}") == (206, expected)
        assert image.sent_bytes == len(expected)


async def test_a_source_without_ranges() -> None:
    async with origin() as glance:
        image = glance.add(DATA, ranges="refused")
        assert (await get(glance, image, "bytes=0-"))[0] == 400
        assert (await get(glance, image, UNSATISFIABLE))[0] == 416
        image.ranges = "ignored"
        assert await get(glance, image, "bytes=5-6") == (200, DATA)
        assert image.sent_bytes == len(DATA)
        assert (await get(glance, image, UNSATISFIABLE))[0] == 200
        assert image.sent_bytes == len(DATA), "an answered question is no data"


async def test_permissions() -> None:
    async with origin() as glance:
        image = glance.add(DATA, tokens={"good"})
        for token, status in (("good", 416), ("bad", 403), (None, 401)):
            assert (await get(glance, image, UNSATISFIABLE, token))[0] == status
        assert (await get(glance, image, None, "bad"))[0] == 403
        assert (image.questions, image.sent_bytes) == (3, 0)


async def test_a_hold_lets_all_bytes_before_it_through() -> None:
    async with origin() as glance:
        image = glance.add(DATA)
        hold = image.hold_at(150_000)
        url = f"{glance.url}/v2/images/{image.id}/file"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert await answer.content.readexactly(150_000) == DATA[:150_000]
            await hold.reached.wait()
            assert image.sent_bytes == 150_000
            hold.release.set()
            assert await answer.read() == DATA[150_000:]


async def test_a_cut_happens_once() -> None:
    async with origin() as glance:
        image = glance.add(DATA, cuts=[100])
        with pytest.raises(aiohttp.ClientError):
            await get(glance, image)
        assert image.sent_bytes == 100
        assert await get(glance, image) == (200, DATA)


async def test_lies() -> None:
    async with origin() as glance:
        image = glance.add(DATA, wrong_at=1000)
        _, told = await get(glance, image)
        assert [i for i, (a, b) in enumerate(zip(told, DATA, strict=True)) if a != b] == [1000]
        image.wrong_at, image.surplus = None, 1
        assert await get(glance, image) == (200, DATA + b"\xff")
        image.surplus = -1
        assert await get(glance, image) == (200, DATA[:-1])


async def test_statuses_instead() -> None:
    async with origin() as glance:
        image = glance.add(DATA, data_status=503, show_status=500, question_status=404)
        assert (await get(glance, image))[0] == 503
        assert (await get(glance, image, UNSATISFIABLE))[0] == 404
        async with (
            aiohttp.ClientSession(glance.url) as session,
            session.get(f"/v2/images/{image.id}") as answer,
        ):
            assert answer.status == 500


async def test_several_at_once_are_held_by_one_barrier() -> None:
    async with origin() as glance:
        image = glance.add(Content.zeros(1 << 20))
        hold = image.hold_at(0)
        readers = [asyncio.create_task(get(glance, image)) for _ in range(3)]
        await hold.reached.wait()
        assert image.sent_bytes == 0
        hold.release.set()
        assert await asyncio.gather(*readers) == [(200, bytes(1 << 20))] * 3
        assert image.sent_bytes == 3 << 20
