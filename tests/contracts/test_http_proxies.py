"""The http driver behind a proxy, as `http_proxy_information` names it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from backends.errors import DeniedError, UnavailableError
from backends.http.options import http_options
from backends.http.store import HttpStore
from backends.location import Location
from backends.options import HttpOptions
from backends.spans import Span
from contracts.answers import CONTENT, answer, location_of, once
from contracts.subject import pattern, read
from harness.authority import Authority
from harness.raw_origin import Peer, RawOrigin, listener, raw_origin

LARGE = pattern(3 << 20)


async def tunnel(peer: Peer) -> None:
    """Connect a client to where it wants to go, and hand on what either of them says."""
    request = await peer.head()
    peer.origin.requests.append(request)
    assert request.method == "CONNECT"
    host, _, port = request.target.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")

    async def hand_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        target.close()

    try:
        await asyncio.gather(hand_on(reader, peer.writer), hand_on(peer.reader, writer))
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def behind(proxy: RawOrigin, user: str = "", **more: Path) -> AsyncIterator[HttpStore]:
    place = user + proxy.url.removeprefix("http://")
    options = http_options(
        {
            "http_proxy_information": f"http:{place}, https:http://{place}",
            **{name: str(path) for name, path in more.items()},
        }
    )
    assert "pass" not in repr(options)
    async with aclosing(HttpStore(options)) as store:
        yield store


@pytest.mark.parametrize("user", ["", "us%40er:pass@"])
async def test_http(user: str) -> None:
    async with (
        raw_origin(once(answer("200 OK", "Content-Length: 10", body=CONTENT))) as proxy,
        behind(proxy, user) as store,
    ):
        location = Location("http://user:secret@images.invalid:8080/image?x=y")
        assert await read(store, location) == CONTENT
        request = proxy.requests[0]
        assert request.target == "http://images.invalid:8080/image?x=y"
        assert request.one("authorization") == basic("user:secret")
        assert request.one("proxy-authorization") == (basic("us@er:pass") if user else None)


async def test_https(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    whole = once(answer("200 OK", f"Content-Length: {len(LARGE)}", body=LARGE))
    async with (
        raw_origin(whole, tls=authority.server()) as origin,
        raw_origin(tunnel) as proxy,
        behind(proxy, "user:pass@", https_ca_certificates_file=authority.cafile) as store,
    ):
        uri = origin.url.replace("://", "://user:secret@") + "/image"
        assert await read(store, Location(uri)) == LARGE
        assert await read(store, Location(uri), Span(5, 9)) == LARGE[5:9]
        assert {request.target for request in proxy.requests} == {origin.url[len("https://") :]}
        assert proxy.requests[0].one("proxy-authorization") == basic("user:pass")
        assert proxy.requests[0].one("authorization") is None
        assert origin.requests[0].one("proxy-authorization") is None
        assert origin.requests[0].one("authorization") == basic("user:secret")


@pytest.mark.parametrize(
    ("status", "error"),
    [(407, DeniedError), (403, DeniedError), (502, UnavailableError), (504, UnavailableError)],
)
async def test_a_proxy_that_refuses(status: int, error: type[Exception]) -> None:
    async with (
        raw_origin(once(answer(f"{status} No", "Content-Length: 0"))) as proxy,
        behind(proxy, "user:pass@") as store,
    ):
        for scheme in ("http", "https"):
            with pytest.raises(error, match=str(status)) as caught:
                await read(store, Location(f"{scheme}://user:secret@images.invalid/image"))
            assert "pass" not in repr(caught.value)
            assert "secret" not in repr(caught.value)


async def test_no_proxy_listens() -> None:
    with listener() as sock:
        port = sock.getsockname()[1]
    options = HttpOptions(proxies={"http": f"http://user:pass@127.0.0.1:{port}"})
    async with (
        raw_origin(once(answer("200 OK", body=CONTENT))) as origin,
        aclosing(HttpStore(options)) as store,
    ):
        with pytest.raises(UnavailableError) as caught:
            await read(store, location_of(origin))
        assert "pass" not in repr(caught.value)
        assert origin.requests == []


async def test_another_scheme_needs_no_proxy(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    options = HttpOptions(ca_file=authority.cafile, proxies={"http": "http://127.0.0.1:1"})
    async with (
        raw_origin(once(answer("200 OK", body=CONTENT)), tls=authority.server()) as origin,
        aclosing(HttpStore(options)) as store,
    ):
        assert await read(store, location_of(origin)) == CONTENT


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
