"""The http driver with a guard: asked about each address, and connections only to what it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from backends.errors import DeniedError
from backends.http.store import HttpStore
from backends.location import Location
from backends.options import HttpOptions
from contracts.answers import CONTENT, answer, once
from contracts.subject import read
from harness.raw_origin import Peer, raw_origin


class Guard:
    """Lets names of one domain lead here; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, uri: str) -> Sequence[str]:
        self.asked.append(uri)
        if ".invalid:" not in uri:
            raise DeniedError("not allowed")
        return ("127.0.0.1",)


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
async def store(guard: Guard) -> AsyncIterator[HttpStore]:
    async with aclosing(HttpStore(guard=guard)) as store:
        yield store


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def moved(target: str) -> bytes:
    return answer("302 Elsewhere", f"Location: {target}", "Content-Length: 0")


async def test_names_lead_where_the_guard_says(store: HttpStore, guard: Guard) -> None:
    """No resolver knows them."""

    async def script(peer: Peer) -> None:
        request = await peer.request()
        elsewhere = moved(f"http://there.invalid:{port}/moved")
        whole = answer("200 OK", "Content-Length: 10", body=CONTENT)
        await peer.send(whole if request.target == "/moved" else elsewhere)

    async with raw_origin(script) as origin:
        port = port_of(origin.url)
        assert await read(store, Location(f"http://a:b@here.invalid:{port}/image")) == CONTENT
    assert guard.asked == [
        f"http://here.invalid:{port}/image",
        f"http://there.invalid:{port}/moved",
    ]
    assert [request.one("host") for request in origin.requests] == [
        f"here.invalid:{port}",
        f"there.invalid:{port}",
    ]


async def test_what_it_refuses_is_not_asked_for(store: HttpStore, guard: Guard) -> None:
    async with (
        raw_origin(once(answer("200 OK", body=CONTENT))) as inside,
        raw_origin(once(moved(f"{inside.url}/secret"))) as origin,
    ):
        with pytest.raises(DeniedError):
            await read(store, Location(f"http://here.invalid:{port_of(origin.url)}/image"))
    assert guard.asked[1:] == [f"{inside.url}/secret"]
    assert (len(origin.requests), inside.connections) == (1, 0)


async def test_behind_a_proxy_it_is_asked_too(guard: Guard) -> None:
    whole = answer("200 OK", "Content-Length: 10", body=CONTENT)
    async with raw_origin(once(whole)) as proxy:
        options = HttpOptions(proxies={"http": proxy.url.replace("127.0.0.1", "localhost")})
        async with aclosing(HttpStore(options, guard)) as store:
            assert await read(store, Location("http://here.invalid:81/image")) == CONTENT
            with pytest.raises(DeniedError):
                await read(store, Location("http://127.0.0.1:81/image"))
    assert [request.target for request in proxy.requests] == ["http://here.invalid:81/image"]
