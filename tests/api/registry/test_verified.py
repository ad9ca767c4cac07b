"""Downloads of an image whose bytes have changed in the store."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(5 * MIB + 3)


async def in_pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(CONTENT), MIB):
        yield CONTENT[start : start + MIB]


@pytest.fixture(params=["verified", "as it is"])
def settings(settings: Any, request: pytest.FixtureRequest) -> Any:
    return replace(settings, verify_downloads=request.param == "verified")


async def test_wrong_bytes_in_a_store(client: Any, catalog: Any, settings: Any) -> None:
    async with aiohttp.ClientSession(catalog.url) as session:
        uploader = type(client)(session)
        image_id = await uploader.create()
        assert (await uploader.upload(image_id, in_pieces())).status == 204
    # Over a connection that has had no body: where nothing is to be verified, what comes next is at
    # hand, and answered without the handlers.
    assert (await client.download(image_id)).body == CONTENT
    with (catalog.data / image_id).open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"wrong")
    # Chunks beside the wrong one are right.
    for start, stop in ((17, 3 * MIB), (4 * MIB, len(CONTENT)), (4 * MIB + 5, 5 * MIB + 1)):
        answer = await client.download(image_id, Range=f"bytes={start}-{stop - 1}")
        assert answer.body == CONTENT[start:stop]
    async with client.session.get(f"/v2/images/{image_id}/file") as answer:
        received = bytearray()
        try:
            async for piece in answer.content.iter_any():
                received += piece
        except aiohttp.ClientError:
            assert settings.verify_downloads
            assert received == CONTENT[: 3 * MIB]
        else:
            assert not settings.verify_downloads
            assert received[3 * MIB :].startswith(b"wrong")


async def test_nothing_to_verify(client: Any) -> None:
    image_id = await client.add(b"")
    assert (await client.download(image_id)).body == b""
