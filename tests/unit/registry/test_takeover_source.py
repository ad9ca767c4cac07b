"""A Glance that is asked: tokens end in the middle, it goes away, it is not what one thinks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from keystoneauth1.adapter import Adapter
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session

from registry.takeover import source
from registry.takeover.source import GlanceSource, SourceError

USES = 2  # requests that a token is good for
IMAGES = [{"id": str(number)} for number in range(5)]


class Cloud:
    """Plays Keystone, whose tokens are soon refused, and Glance, which has a few images."""

    def __init__(self) -> None:
        self.url = ""
        self.tokens = 0
        self.roles = ["admin"]
        self.left = 0  # uses of the newest token
        self.failing = 0  # requests that are answered by 503
        self.asked: list[str] = []

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/v3", self.version),
                web.post("/v3/auth/tokens", self.log_in),
                web.get("/v2/images", self.list),
                web.get("/v2/images/{id}/{what}", self.about),
                web.get("/v2/images/{id}", self.about),
            ]
        )
        return application

    async def version(self, _request: web.Request) -> web.Response:
        links = [{"rel": "self", "href": f"{self.url}/v3"}]
        version = {"id": "v3.14", "status": "stable", "links": links}
        return web.json_response({"version": version})

    async def log_in(self, _request: web.Request) -> web.Response:
        self.tokens += 1
        self.left = USES
        token: dict[str, Any] = {
            "methods": ["password"],
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "roles": [{"id": name, "name": name} for name in self.roles],
            "user": {"id": "u", "name": "u", "domain": {"id": "d", "name": "d"}},
            "project": {"id": "p", "name": "p", "domain": {"id": "d", "name": "d"}},
            "catalog": [],
        }
        headers = {"X-Subject-Token": f"token-{self.tokens}"}
        return web.json_response({"token": token}, status=201, headers=headers)

    def refusal(self, request: web.Request) -> web.Response | None:
        self.asked.append(request.path_qs)
        if self.failing:
            self.failing -= 1
            return web.Response(status=503)
        if request.headers.get("X-Auth-Token") != f"token-{self.tokens}" or not self.left:
            return web.Response(status=401)
        self.left -= 1
        return None

    async def list(self, request: web.Request) -> web.Response:
        if refused := self.refusal(request):
            return refused
        if request.query["os_hidden"] == "true":
            return web.json_response({"images": []})
        first = int(request.query.get("marker", "-1")) + 1
        page: dict[str, Any] = {"images": IMAGES[first : first + 1]}
        if page["images"]:
            page["next"] = f"/v2/images?os_hidden=false&marker={first}"
        return web.json_response(page)

    async def about(self, request: web.Request) -> web.Response:
        if refused := self.refusal(request):
            return refused
        if request.match_info["id"] != "0":
            return web.Response(status=404)
        what = request.match_info.get("what", "record")
        if what == "locations":
            return web.Response(status=403)
        return web.json_response({"members": [{"member_id": "m"}]} if what == "members" else {})


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    played = Cloud()
    async with TestServer(played.application()) as server:
        played.url = str(server.make_url("")).rstrip("/")
        yield played


@pytest.fixture
async def glance(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GlanceSource]:
    monkeypatch.setattr(source, "RETRY_SECONDS", 0.001)
    auth = Password(
        f"{cloud.url}/v3",
        username="u",
        password="secret",
        project_name="p",
        user_domain_id="d",
        project_domain_id="d",
    )
    session = Session(auth)
    asked = GlanceSource(Adapter(session, service_type="image", endpoint_override=cloud.url))
    yield asked
    await asked.aclose()
    session.session.close()


async def test_tokens_that_end_in_the_middle(glance: GlanceSource, cloud: Cloud) -> None:
    assert await glance.images(hidden=False) == IMAGES
    assert cloud.tokens == 3
    assert await glance.images(hidden=True) == []


async def test_what_is_asked_of_an_image(glance: GlanceSource) -> None:
    assert await glance.members("0") == [{"member_id": "m"}]
    assert await glance.members("9") == []
    assert await glance.locations("0") is None
    assert await glance.has("0")
    assert not await glance.has("9")


async def test_a_glance_that_fails_for_a_while(glance: GlanceSource, cloud: Cloud) -> None:
    cloud.failing = source.TRIES - 1
    assert await glance.images(hidden=True) == []
    assert len(cloud.asked) == source.TRIES


async def test_a_glance_that_stays_away(glance: GlanceSource, cloud: Cloud) -> None:
    cloud.failing = 1000
    with pytest.raises(SourceError, match="503"):
        await glance.images(hidden=True)
    assert len(cloud.asked) == source.TRIES


async def test_who_asks(glance: GlanceSource, cloud: Cloud) -> None:
    cloud.roles = ["reader", "member"]
    with pytest.raises(SourceError, match="has the roles member, reader"):
        await glance.require_administrator()
    cloud.roles = ["Admin"]
    assert glance._adapter.session.auth is not None
    glance._adapter.session.auth.invalidate()
    await glance.require_administrator()
