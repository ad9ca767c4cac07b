"""Callers known by Keystone, over HTTP; a Keystone of the test's own can be slow, away and wrong."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from harness.authority import Authority
from registry.app import listening
from registry.config import Authentication, Settings
from registry.errors import ConfigError
from registry.keystone import validation
from registry.keystone.options import KeystoneSettings
from registry.policy.options import PolicySettings
from registry.upkeep import sync_database

CHALLENGE = 'Keystone uri="http://public.example:5000"'
LATER = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
EARLIER = "2020-01-01T00:00:00.000000Z"


def described(user: str, *roles: str, ends: str = LATER) -> dict[str, Any]:
    """Return what Keystone says of a token for a user's project."""
    domain = {"id": "default", "name": "Default"}
    return {
        "token": {
            "user": {"id": user, "name": user, "domain": domain},
            "project": {"id": f"project-of-{user}", "name": "p", "domain": domain},
            "roles": [{"id": role, "name": role} for role in roles],
            "expires_at": ends,
            "issued_at": EARLIER,
        }
    }


@dataclass
class FakeKeystone:
    """Knows some tokens; `answer`, where it is set, is told instead."""

    url: str = ""
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    own: int = 0  # the tokens that it gave the catalog; the last one is good
    asked: list[str] = field(default_factory=list)
    answer: int | None = None
    cuts: int = 0  # questions whose connection breaks, still to come
    slow: set[str] = field(default_factory=set)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/v3", self.versions),
                web.get("/v3/", self.versions),
                web.post("/v3/auth/tokens", self.log_in),
                web.get("/v3/auth/tokens", self.validate),
            ]
        )
        return application

    async def versions(self, _request: web.Request) -> web.Response:
        link = {"rel": "self", "href": f"{self.url}/"}
        return web.json_response({"version": {"id": "v3.14", "status": "stable", "links": [link]}})

    async def log_in(self, request: web.Request) -> web.Response:
        sent = (await request.json())["auth"]["identity"]["password"]["user"]
        if self.answer is not None or sent["password"] != "sesame":
            return web.Response(status=self.answer or 401)
        self.own += 1
        headers = {"X-Subject-Token": f"own-{self.own}"}
        return web.json_response(described("glance", "service"), status=201, headers=headers)

    async def validate(self, request: web.Request) -> web.Response:
        token = request.headers["X-Subject-Token"]
        if request.headers["X-Auth-Token"] != f"own-{self.own}":
            return web.Response(status=401)
        self.asked.append(token)
        if self.cuts:
            self.cuts -= 1
            assert request.transport is not None
            request.transport.abort()
        if token in self.slow:
            await self.open.wait()
        if self.answer is not None:
            return web.Response(status=self.answer, text=token)
        found = self.known.get(token)
        if found is None or (
            found["token"]["expires_at"] == EARLIER and "allow_expired" not in request.query
        ):
            return web.json_response({"error": {"message": token}}, status=404)
        return web.json_response(found)


async def run(application: web.Application, tls: ssl.SSLContext | None = None) -> web.AppRunner:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner


@pytest.fixture
async def keystone() -> AsyncIterator[FakeKeystone]:
    keystone = FakeKeystone()
    keystone.known = {
        "member": described("m", "Member", "reader"),
        "ended": described("m", "member", "reader", ends=EARLIER),
        "service": described("nova", "service"),
    }
    runner = await run(keystone.application())
    keystone.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v3"
    yield keystone
    keystone.open.set()
    await runner.cleanup()


@pytest.fixture
def keystone_settings(keystone: FakeKeystone) -> KeystoneSettings:
    return KeystoneSettings(
        keystone.url,
        "v3password",
        {"user_id": "glance", "password": "sesame", "project_id": "service"},
        www_authenticate_uri="http://public.example:5000",
        retries=0,
    )


@pytest.fixture
def settings(settings: Settings, keystone_settings: KeystoneSettings, tmp_path: Path) -> Settings:
    policy = PolicySettings(beside=(tmp_path / "glance-api.conf",))
    return replace(settings, authentication=Authentication(keystone_settings, policy))


def shown(token: str, **more: str) -> dict[str, str]:
    return {
        "X-Auth-Token": token,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


async def test_only_who_is_known_is_served(client: Any, keystone: FakeKeystone) -> None:
    for headers in ({}, shown(""), shown("bad"), {"X-Service-Token": "service"}):
        answer = await client.call("GET", "", headers=headers)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, CHALLENGE)
    assert (await client.call("GET", "", headers=shown("member"))).status == 200
    assert (await client.call("GET", "", headers={"X-Storage-Token": "member"})).status == 200
    assert keystone.asked == ["bad", "member"]


async def test_versions_and_health_are_everybodys(client: Any) -> None:
    for path, status in (("/", 300), ("/versions", 200), ("/healthcheck", 200), ("/v1/x", 300)):
        async with client.session.get(path) as answer:
            assert answer.status == status
    for path in ("/v2", "/v2/", "/v2.9/schemas/image", "/v2/nothing"):
        async with client.session.get(path) as answer:
            assert answer.status == 401


async def test_what_a_client_says_of_itself_means_nothing(client: Any) -> None:
    headers = {
        "X-Identity-Status": "Confirmed",
        "X-Roles": "admin",
        "X-User-Id": "m",
        "X-Project-Id": "p",
        "X-Is-Admin-Project": "true",
        "X-Service-Roles": "service",
    }
    assert (await client.call("GET", "", headers=headers)).status == 401
    body = {"visibility": "public"}
    answer = await client.call("POST", "", json=body, headers={**headers, **shown("member")})
    assert answer.status == 403


async def test_an_upload_is_refused_before_it_is_sent(client: Any) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    path = "/00000000-0000-0000-0000-000000000000/file"
    answer = await client.call("PUT", path, data=b"x" * 100_000, headers=headers, expect100=True)
    assert answer.status == 401


async def test_a_token_that_ends_during_an_upload(client: Any, keystone: FakeKeystone) -> None:
    headers = shown("member") | {"Content-Type": "application/octet-stream"}
    formats = {"disk_format": "raw", "container_format": "bare"}
    answer = await client.call("POST", "", json=formats, headers=shown("member"))
    path = f"/{answer.json()['id']}"

    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        keystone.known["member"] = keystone.known["ended"]
        yield b"ended"

    assert (await client.call("PUT", f"{path}/file", data=body(), headers=headers)).status == 204
    keystone.known["again"] = described("m", "member", "reader")
    found = await client.call("GET", path, headers=shown("again"))
    assert (found.json()["status"], found.json()["size"]) == ("active", 10)


async def test_a_service_goes_on_with_a_users_token_that_has_ended(client: Any) -> None:
    assert (await client.call("GET", "", headers=shown("ended"))).status == 401
    headers = shown("ended", X_Service_Token="service")
    assert (await client.call("GET", "", headers=headers)).status == 200
    for service in ("member", "bad"):
        headers = shown("ended", X_Service_Token=service)
        assert (await client.call("GET", "", headers=headers)).status == 401


async def test_many_who_wait_ask_once_and_hold_up_nobody(
    client: Any, keystone: FakeKeystone
) -> None:
    await client.call("GET", "", headers=shown("member"))
    keystone.known["slow"], keystone.slow = keystone.known["member"], {"slow"}
    waiting = [asyncio.create_task(client.call("GET", "", headers=shown("slow"))) for _ in range(8)]
    while keystone.asked[-1] != "slow":
        assert (await client.call("GET", "", headers=shown("member"))).status == 200
    assert not any(task.done() for task in waiting)
    keystone.open.set()
    assert {(await task).status for task in waiting} == {200}
    assert keystone.asked == ["member", "slow"]


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
async def test_keystone_not_well_is_503(client: Any, keystone: FakeKeystone, status: int) -> None:
    await client.call("GET", "", headers=shown("member"))
    keystone.answer = status
    assert (await client.call("GET", "", headers=shown("other"))).status == 503
    assert (await client.call("GET", "", headers=shown("member"))).status == 200  # known already
    keystone.answer = None
    assert (await client.call("GET", "", headers=shown("other"))).status == 401


async def test_the_catalogs_own_token_is_renewed_when_it_is_refused(
    client: Any, keystone: FakeKeystone
) -> None:
    await client.call("GET", "", headers=shown("member"))
    keystone.own = 7  # it knows the former one no more
    assert (await client.call("GET", "", headers=shown("service"))).status == 403
    assert keystone.own == 8


class TestABrokenConnection:
    @pytest.fixture
    def keystone_settings(
        self, keystone_settings: KeystoneSettings, monkeypatch: pytest.MonkeyPatch
    ) -> KeystoneSettings:
        monkeypatch.setattr(validation, "FIRST_PAUSE_SECONDS", 0.0)
        return replace(keystone_settings, retries=2)

    async def test_is_tried_again_as_often_as_configured(
        self, client: Any, keystone: FakeKeystone
    ) -> None:
        keystone.cuts = 2
        assert (await client.call("GET", "", headers=shown("member"))).status == 200
        assert keystone.asked[-1] == "member"
        assert keystone.cuts == 0
        keystone.cuts = 100
        assert (await client.call("GET", "", headers=shown("other"))).status == 503
        # aiohttp itself tries once more where the connection was open already.
        assert 3 <= keystone.asked.count("other") <= 6


class TestAWrongPassword:
    @pytest.fixture
    def keystone_settings(self, keystone_settings: KeystoneSettings) -> KeystoneSettings:
        login = {**keystone_settings.login, "password": "not this one"}
        return replace(keystone_settings, login=login)

    async def test_is_503_and_told_in_the_log(
        self, client: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert (await client.call("GET", "", headers=shown("member"))).status == 503
        assert "gives the catalog no token: Unauthorized" in caplog.text
        assert "not this one" not in caplog.text


class TestNobodyAtTheAddress:
    @pytest.fixture
    def keystone_settings(
        self, keystone_settings: KeystoneSettings, unused_tcp_port: int
    ) -> KeystoneSettings:
        return replace(keystone_settings, auth_url=f"http://127.0.0.1:{unused_tcp_port}/v3")

    async def test_is_503(self, client: Any) -> None:
        assert (await client.call("GET", "", headers=shown("member"))).status == 503
        assert (await client.call("GET", "")).status == 401


async def test_no_token_is_logged(
    client: Any, keystone: FakeKeystone, caplog: pytest.LogCaptureFixture
) -> None:
    keystone.known["sesame-user"] = described("m", "member")
    with caplog.at_level(logging.DEBUG):
        await client.call("GET", "", headers=shown("sesame-user", X_Service_Token="sesame-bad"))
        keystone.answer = 500
        await client.call("GET", "", headers=shown("sesame-other"))
        answer = await client.call("GET", "", headers=shown("sesame\x80"))
        assert answer.status == 401
    for record in caplog.records:
        if record.name.startswith(("registry", "aiohttp", "oslo", "keystoneauth")):
            assert "sesame" not in record.getMessage(), record.name
            assert "own-" not in record.getMessage(), record.name


class TestTls:
    """Keystone behind TLS with an authority of its own, which wants a certificate too."""

    @pytest.fixture
    async def keystone_settings(
        self, keystone: FakeKeystone, keystone_settings: KeystoneSettings, tmp_path: Path
    ) -> AsyncIterator[KeystoneSettings]:
        authority = Authority(tmp_path)
        certificate, key = authority.files("the-catalog")
        runner = await run(keystone.application(), authority.server(asks_for=authority))
        keystone.url = f"https://127.0.0.1:{runner.addresses[0][1]}/v3"
        yield replace(
            keystone_settings,
            auth_url=keystone.url,
            cafile=authority.cafile,
            certfile=certificate,
            keyfile=key,
        )
        await runner.cleanup()

    async def test_both_are_known_by_their_certificates(
        self, client: Any, keystone: FakeKeystone
    ) -> None:
        assert (await client.call("GET", "", headers=shown("member"))).status == 200
        assert keystone.asked == ["member"]


async def test_files_that_are_no_certificates(
    settings: Settings, stores: Any, keystone_settings: KeystoneSettings, tmp_path: Path
) -> None:
    await sync_database(settings)
    assert settings.authentication is not None
    wrong = replace(keystone_settings, cafile=tmp_path / "nowhere.pem")
    authentication = replace(settings.authentication, keystone=wrong)
    with pytest.raises(ConfigError, match=r"\[keystone_authtoken\] cafile"):
        async with listening(replace(settings, authentication=authentication), stores):
            pass
