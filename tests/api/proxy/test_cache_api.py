"""Glance's interface to its cache, when not everything is well: statuses, and who is asked what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web

from cacheproxy import cacheorders as orders
from cacheproxy.config import KeystoneSettings, UpstreamSettings
from cacheproxy.errors import BusyError, IdentityError, KeeperError
from cacheproxy.identity import Identities, Identity
from cacheproxy.meter import Board
from cacheproxy.metrics import CACHE_API_REQUESTS
from cacheproxy.upstream import Upstream
from cacheproxy.web.cache_api import CacheApi
from cacheproxy.web.cache_rights import CacheRights, KeystoneRights, UpstreamRights
from harness.raw_origin import Peer, RawOrigin, raw_origin

ACTIVE = b'{"id": "i", "status": "active"}'
Outcome = orders.Ending | Exception


@dataclass
class Keeper:
    """Takes orders, and ends them as it is told."""

    outcome: Outcome = field(default_factory=orders.Done)
    taken: list[orders.AnyOrder] = field(default_factory=list)

    async def order(self, order: orders.AnyOrder) -> tuple[list[orders.Rows], orders.Ending]:
        self.taken.append(order)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return [], self.outcome


class Anybody:
    """Everybody may."""

    async def refusal(self, _: web.BaseRequest) -> web.Response | None:
        return None


ANYBODY = Anybody()


@dataclass
class Api:
    """The interface under test."""

    url: str
    keeper: Keeper
    origin: RawOrigin
    board: Board

    async def ask(
        self, method: str, path: str = "", **headers: str
    ) -> tuple[int, dict[str, str], str]:
        url = f"{self.url}/v2/cache{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, headers=headers) as answer,
        ):
            return answer.status, dict(answer.headers), await answer.text()


@asynccontextmanager
async def serving(
    status: int | None = 200,
    body: bytes = ACTIVE,
    rights: CacheRights | None = ANYBODY,
    outcome: Outcome | None = None,
) -> AsyncIterator[Api]:
    """Serve in front of an upstream that always answers so; None: not at all.

    `rights` None: the upstream's answer decides.
    """

    async def script(peer: Peer) -> None:
        if status is not None:
            await peer.request()
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
            await peer.send(f"{head}WWW-Authenticate: theirs\r\n\r\n".encode() + body)

    board = Board.create(1)
    keeper = Keeper(outcome or orders.Done())
    async with raw_origin(script) as origin:
        upstream = Upstream(UpstreamSettings(origin.url), board.meter(0))
        api = CacheApi(
            rights or UpstreamRights(upstream),
            keeper,
            upstream,
            board.meter(0),
        )
        server = web.Server(api, access_log=None)
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        try:
            port = listening.sockets[0].getsockname()[1]
            yield Api(f"http://127.0.0.1:{port}", keeper, origin, board)
        finally:
            listening.close()
            await server.shutdown(0)
            await upstream.close()


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (KeeperError("the keeper is away"), 503, "away"),
        (BusyError("too many orders at once"), 503, "too many"),
        (orders.Failed(), 503, "cannot be changed"),
        (orders.Refused("it is pinned: unpin it first"), 409, "it is pinned"),
        (orders.Full(), 503, "too many images"),
    ],
)
async def test_what_the_keeper_may_say(outcome: Outcome, status: int, text: str) -> None:
    async with serving(outcome=outcome) as api:
        for method, path in (("GET", ""), ("DELETE", ""), ("DELETE", "/i"), ("PUT", "/i")):
            answer = await api.ask(method, path)
            assert answer[0] == status, (method, path)
            assert text in answer[2]
            assert ("Retry-After" in answer[1]) == (status == 503)
        assert api.board.total(CACHE_API_REQUESTS, (str(status),)) == 4


async def test_the_orders() -> None:
    async with serving() as api:
        token = {"X-Auth-Token": "t"}
        assert (await api.ask("PUT", "/i", **token))[0] == 202
        assert (await api.ask("DELETE", "/i?x=y"))[0] == 204
        assert (await api.ask("DELETE", "", **{"X-Image-Cache-Clear-Target": "CACHE"}))[0] == 204
        assert (await api.ask("DELETE", "", **{"X-Image-Cache-Clear-Target": "queue"}))[0] == 204
        assert (await api.ask("DELETE"))[0] == 204
        assert (await api.ask("POST", "/clean"))[0] == 200
        assert (await api.ask("POST", "/prune"))[0] == 200
        assert api.keeper.taken == [
            orders.QueueImage("i", "t"),
            orders.DeleteImage("i"),
            orders.ClearImages(cached=True, queued=False),
            orders.ClearImages(cached=False, queued=True),
            orders.ClearImages(cached=True, queued=True),
            orders.CleanUp(),
        ]


@pytest.mark.parametrize(
    ("upstream", "body", "status"),
    [
        (401, b"", 401),
        (403, b"", 403),
        (404, b"", 404),
        (500, b"", 503),
        (None, b"", 503),
        (200, b"<html>", 503),
        (200, b'{"status": "saving"}', 400),
        (200, b'{"status": "deactivated"}', 400),
        (200, b" " * (5 << 20), 503),
    ],
)
async def test_an_image_that_the_upstream_does_not_show_as_active(
    upstream: int | None, body: bytes, status: int
) -> None:
    async with serving(upstream, body) as api:
        assert (await api.ask("PUT", "/i"))[0] == status
        assert api.keeper.taken == []


async def test_an_image_of_which_there_is_nothing_is_asked_for_upstream() -> None:
    async with serving(outcome=orders.NotCached()) as api:
        assert (await api.ask("DELETE", "/i"))[0] == 204
        (asked,) = api.origin.requests
        assert (asked.method, asked.target) == ("GET", "/v2/images/i")
    async with serving(404, outcome=orders.NotCached()) as api:
        assert (await api.ask("DELETE", "/i"))[0] == 404
        assert (await api.ask("DELETE", "/:"))[0] == 404
        assert len(api.origin.requests) == 1


async def test_a_body_is_refused_and_not_read() -> None:
    async with serving() as api, aiohttp.ClientSession() as session:
        for method, path in (("GET", ""), ("PUT", "/i")):
            async with session.request(method, f"{api.url}/v2/cache{path}", data=b"{}") as answer:
                assert answer.status == 400
                assert answer.headers["Connection"] == "close"
        assert api.keeper.taken == []


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/v2/cache", True),
        ("/v2/cache?x", True),
        ("/v2/cache/i", True),
        ("/v2/cache/nodes/i", True),
        ("/v2/cache/", False),
        ("/v2/cache/i/j", False),
        ("/v2/cached_images", False),
        ("/v2/cache%2Fi", False),
        ("/v2/images/cache", False),
    ],
)
def test_which_paths_are_ours(path: str, served: bool) -> None:
    assert CacheApi.serves(path) is served


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upstream", "status"),
    [(401, 401), (403, 403), (404, 404), (300, 503), (500, 503), (204, 503), (None, 503)],
)
async def test_whatever_is_no_clear_yes_of_the_upstream_is_a_no(
    upstream: int | None, status: int
) -> None:
    async with serving(upstream, b"", None) as api:
        got, headers, _ = await api.ask("DELETE", "/i", **{"X-Auth-Token": "t"})
        assert got == status
        assert api.keeper.taken == []
        if upstream is not None:
            (asked,) = api.origin.requests
            assert (asked.method, asked.target) == ("GET", "/v2/cache")
            assert asked.one("x-auth-token") == "t"
        assert headers.get("WWW-Authenticate") == ("theirs" if status == 401 else None)


async def test_the_upstream_s_yes() -> None:
    async with serving(rights=None) as api:
        assert (await api.ask("DELETE", "/i", **{"X-Auth-Token": "t"}))[0] == 204
        assert [asked.target for asked in api.origin.requests] == ["/v2/cache"]
        assert api.keeper.taken == [orders.DeleteImage("i")]


ADMIN = Identity("u", "p", frozenset({"admin"}), datetime.now(UTC) + timedelta(hours=1))
MEMBER = Identity("u", "p", frozenset({"member"}), datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.parametrize(
    ("found", "token", "status"),
    [
        (ADMIN, "t", 200),
        (MEMBER, "t", 403),
        (None, "t", 401),
        (ADMIN, None, 401),
        (ADMIN, "", 401),
        (IdentityError("Keystone does not answer"), "t", 503),
    ],
)
async def test_what_keystone_may_say(
    found: Identity | Exception | None, token: str | None, status: int
) -> None:
    async def keystone(_: str) -> Identity | None:
        if isinstance(found, Exception):
            raise found
        return found

    identities = Identities(KeystoneSettings(auth_url="http://keystone.example/v3"), keystone)
    async with serving(rights=KeystoneRights(identities)) as api:
        headers = {} if token is None else {"X-Auth-Token": token}
        got, answered, _ = await api.ask("GET", "", **headers)
        assert got == status
        challenge = 'Keystone uri="http://keystone.example/v3"' if status == 401 else None
        assert answered.get("WWW-Authenticate") == challenge
        assert api.origin.requests == []
    await identities.close()
