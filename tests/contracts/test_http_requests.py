"""What the http driver asks for, where, and with whose credentials."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from backends.errors import InvalidError, MissingError
from backends.http.store import REDIRECTS_MAX, HttpStore
from backends.location import Location
from backends.options import HttpOptions
from backends.spans import Span
from contracts.answers import CONTENT, answer, location_of, once, partial_content
from contracts.subject import read
from harness.authority import Authority
from harness.raw_origin import Peer, RawOrigin, raw_origin


@pytest.fixture
async def store() -> AsyncIterator[HttpStore]:
    store = HttpStore()
    yield store
    await store.aclose()


class TestRequests:
    async def asked(self, store: HttpStore, uri: str, span: Span | None = None) -> RawOrigin:
        async with raw_origin(once(answer("200 OK", body=CONTENT))) as origin:
            await read(
                store, Location(uri.replace("HOST", origin.url.removeprefix("http://"))), span
            )
        assert len(origin.requests) == 1
        return origin

    async def test_headers(self, store: HttpStore) -> None:
        request = (await self.asked(store, "http://HOST/image")).requests[0]
        assert request.one("range") is None
        assert request.one("authorization") is None
        assert request.one("accept-encoding") == "identity"
        request = (await self.asked(store, "http://HOST/image", Span(1, 3))).requests[0]
        assert request.one("range") == "bytes=1-2"
        request = (await self.asked(store, "http://HOST/image", Span.since(1))).requests[0]
        assert request.one("range") == "bytes=1-"

    @pytest.mark.parametrize(
        ("written", "asked"),
        [
            ("/a%2Fb%7Ec?x=%2f&y=a+b", "/a%2Fb%7Ec?x=%2f&y=a+b"),
            ("/a b/ü", "/a%20b/%C3%BC"),
            ("/a#fragment", "/a"),
            ("", "/"),
        ],
    )
    async def test_target(self, store: HttpStore, written: str, asked: str) -> None:
        origin = await self.asked(store, f"http://HOST{written}")
        assert origin.requests[0].target == asked

    @pytest.mark.parametrize(
        ("written", "pair"),
        [("us%3Aer:p%40ss", "us:er:p@ss"), ("user", "user:"), (":pass", ":pass")],
    )
    async def test_credentials(self, store: HttpStore, written: str, pair: str) -> None:
        request = (await self.asked(store, f"http://{written}@HOST/image")).requests[0]
        assert request.one("authorization") == basic(pair)


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


class TestRedirects:
    def to(self, target: str, status: int = 302) -> bytes:
        return answer(f"{status} Elsewhere", f"Location: {target}", "Content-Length: 0")

    @pytest.mark.parametrize("status", [301, 302])
    @pytest.mark.parametrize("hops", [REDIRECTS_MAX, REDIRECTS_MAX + 1])
    async def test_how_many(self, store: HttpStore, hops: int, status: int) -> None:
        async def script(peer: Peer) -> None:
            number = int((await peer.request()).target.removeprefix("/hop/"))
            if number == hops:
                await peer.send(partial_content("bytes 2-5/10", b"2345", "Content-Length: 4"))
            else:
                await peer.send(self.to(f"../hop/{number + 1}", status))

        async with raw_origin(script) as origin:
            reading = read(store, location_of(origin, "/hop/0"), Span(2, 6))
            if hops <= REDIRECTS_MAX:
                assert await reading == b"2345"
            else:
                with pytest.raises(InvalidError, match="redirects"):
                    await reading
        assert len(origin.requests) == REDIRECTS_MAX + 1
        assert {request.one("range") for request in origin.requests} == {"bytes=2-5"}

    @pytest.mark.parametrize("target", ["", "file:///etc/passwd", "http://", "http://host:x/"])
    async def test_nowhere(self, store: HttpStore, target: str) -> None:
        async with raw_origin(once(self.to(target))) as origin:
            with pytest.raises(InvalidError):
                await read(store, location_of(origin))

    async def test_without_a_target(self, store: HttpStore) -> None:
        async with raw_origin(once(answer("302 Found", "Content-Length: 0"))) as origin:
            with pytest.raises(InvalidError):
                await read(store, location_of(origin))

    async def test_credentials_stay_with_their_server(self, store: HttpStore) -> None:
        async def first(peer: Peer) -> None:
            request = await peer.request()
            target = other.url + "/image" if request.target == "/hop" else "/hop"
            await peer.send(self.to(target))

        async with (
            raw_origin(once(answer("200 OK", body=CONTENT))) as other,
            raw_origin(first) as origin,
        ):
            uri = origin.url.replace("://", "://user:secret@") + "/image"
            assert await read(store, Location(uri)) == CONTENT
        given = [request.one("authorization") for request in origin.requests]
        assert given == [basic("user:secret")] * 2
        assert [request.one("authorization") for request in other.requests] == [None]

    async def test_from_https_to_http(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)

        async def first(peer: Peer) -> None:
            request = await peer.request()
            stays = request.target == "/image"
            await peer.send(self.to("/hop" if stays else other.url + "/image"))

        options = HttpOptions(ca_file=authority.cafile)
        async with (
            raw_origin(once(answer("200 OK", body=CONTENT))) as other,
            raw_origin(first, tls=authority.server()) as origin,
            aclosing(HttpStore(options)) as store,
        ):
            with pytest.raises(InvalidError, match="from https to http"):
                await read(store, location_of(origin))
        assert [request.target for request in origin.requests] == ["/image", "/hop"]
        assert other.requests == []

    async def test_from_http_to_https(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        options = HttpOptions(ca_file=authority.cafile)
        async with (
            raw_origin(once(answer("200 OK", body=CONTENT)), tls=authority.server()) as other,
            raw_origin(once(self.to(other.url + "/image"))) as origin,
            aclosing(HttpStore(options)) as store,
        ):
            uri = origin.url.replace("://", "://user:secret@") + "/image"
            assert await read(store, Location(uri)) == CONTENT
        assert [request.one("authorization") for request in other.requests] == [None]

    async def test_credentials_of_the_target(self, store: HttpStore) -> None:
        async def script(peer: Peer) -> None:
            if (await peer.request()).target == "/image":
                target = origin.url.replace("://", "://other:hidden@") + "/gone?sign=hidden"
                await peer.send(self.to(target))
            else:
                await peer.send(answer("404 Gone", "Content-Length: 0"))

        async with raw_origin(script) as origin:
            uri = origin.url.replace("://", "://user:secret@") + "/image"
            with pytest.raises(MissingError) as missing:
                await read(store, Location(uri))
        given = [request.one("authorization") for request in origin.requests]
        assert given == [basic("user:secret"), basic("other:hidden")]
        assert "secret" not in str(missing.value)
        assert "hidden" not in str(missing.value)
