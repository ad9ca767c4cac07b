"""Which answers to which requests mean that an image is no more."""

from __future__ import annotations

import pytest

from harness.raw_origin import Peer
from harness.relay import relaying

IMAGE = "8a8d6b34-2c2f-4d50-8b0c-2a1f3f0e7b11"


@pytest.mark.parametrize(
    ("method", "path", "status", "deleted"),
    [
        ("DELETE", f"/v2/images/{IMAGE}", 204, True),
        ("DELETE", f"/v2/images/{IMAGE}/", 204, True),
        ("DELETE", f"/v2.9/images/{IMAGE}?x=y", 204, True),
        ("DELETE", f"/glance/v2/images/{IMAGE}", 204, True),
        ("DELETE", f"/v2/images/{IMAGE}#x", 204, True),
        ("DELETE", f"/v2/metadefs/namespaces/mine#/v2/images/{IMAGE}", 204, False),
        ("DELETE", f"http://node#/v2/images/{IMAGE}", 204, False),
        ("DELETE", f"/v2/images/{IMAGE}", 403, False),
        ("DELETE", f"/v2/images/{IMAGE}", 404, False),
        ("DELETE", f"/v2/images/{IMAGE}", 409, False),
        ("DELETE", f"/v2/images/{IMAGE}", 500, False),
        ("DELETE", f"/v2/images/{IMAGE}", 302, False),
        ("DELETE", f"/v2/images/{IMAGE}/tags/old", 204, False),
        ("DELETE", f"/v2/images/{IMAGE}/members/somebody", 204, False),
        ("DELETE", f"/v2/stores/fast/{IMAGE}", 204, False),
        ("DELETE", f"/v2/cache/{IMAGE}", 204, False),
        ("PATCH", f"/v2/images/{IMAGE}", 200, False),
        ("POST", f"/v2/images/{IMAGE}/actions/deactivate", 204, False),
    ],
)
async def test_only_the_upstreams_word_counts(
    method: str, path: str, status: int, deleted: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())

    async with relaying(script) as relay:
        await relay.ask(f"{method} {path} HTTP/1.1")
        assert relay.deleted == ([IMAGE] if deleted else [])


async def test_an_answer_that_never_came_says_nothing() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with relaying(script) as relay:
        await relay.ask(f"DELETE /v2/images/{IMAGE} HTTP/1.1")
        assert relay.deleted == []
        assert relay.changes == [IMAGE] * 2
