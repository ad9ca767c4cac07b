"""Whether a project may download an image, from what the proxy's own account is shown of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest

from cacheproxy.account import Account, Token
from cacheproxy.config import ServiceUserSettings, UpstreamSettings
from cacheproxy.core.judgement import Verdict
from cacheproxy.errors import AccountError
from cacheproxy.meter import Board
from cacheproxy.projectright import PROJECT, ProjectRight
from cacheproxy.upstream import Upstream
from harness.raw_origin import Peer, RawOrigin, raw_origin

IMAGE = "6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001"
ACTIVE = {"id": IMAGE, "status": "active", "visibility": "shared", "owner": "somebody"}
QUESTION = [(PROJECT, "ours")]
Script = dict[str, tuple[int, Any]]  # a target, or a token, → an answer


class Asked:
    """A project right, its upstream, and its account's log-ins."""

    def __init__(self, origin: RawOrigin, upstream: Upstream) -> None:
        self.origin = origin
        settings = ServiceUserSettings(auth_url="http://keystone.example")
        self.account = Account(settings, self.log_in)
        self.right = ProjectRight(upstream, self.account)
        self.log_ins = 0
        self.failing = False

    def log_in(self, _: ServiceUserSettings) -> Token:
        self.log_ins += 1
        if self.failing:
            raise AccountError("no token")
        return Token(f"token-{self.log_ins}", datetime.now(UTC) + timedelta(hours=1))

    async def verdict(self) -> Verdict:
        return await self.right.may_download(IMAGE, QUESTION)


@asynccontextmanager
async def asked(script: Script) -> AsyncIterator[Asked]:
    async def answer(peer: Peer) -> None:
        while True:
            request = await peer.request()
            token = request.one("x-auth-token") or ""
            status, document = script.get(token) or script.get(request.target, (404, {}))
            body = json.dumps(document).encode()
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(body)}\r\n"
            )
            await peer.send(head.encode() + b"\r\n" + body)

    async with raw_origin(answer) as origin:
        upstream = Upstream(UpstreamSettings(url=origin.url), Board.create(1).meter(0))
        made = Asked(origin, upstream)
        yield made
        await made.account.close()
        await upstream.close()


def shown(**fields: Any) -> Script:
    return {f"/v2/images/{IMAGE}": (200, {**ACTIVE, **fields})}


MEMBER = f"/v2/images/{IMAGE}/members/ours"


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        (shown(owner="ours"), Verdict.ALLOWED),
        (shown(owner="ours", visibility="private"), Verdict.ALLOWED),
        (shown(visibility="public"), Verdict.ALLOWED),
        (shown(visibility="community"), Verdict.ALLOWED),
        (shown(visibility="public", owner=None), Verdict.ALLOWED),
        (shown(visibility="private"), Verdict.REFUSED),
        (shown(), Verdict.REFUSED),
        (shown() | {MEMBER: (200, {"status": "accepted"})}, Verdict.ALLOWED),
        (shown() | {MEMBER: (200, {"status": "pending"})}, Verdict.REFUSED),
        (shown() | {MEMBER: (200, {"status": "rejected"})}, Verdict.REFUSED),
        (shown() | {MEMBER: (503, {})}, Verdict.SILENT),
        (shown() | {MEMBER: (200, [])}, Verdict.SILENT),
        (shown(visibility="private") | {MEMBER: (200, {"status": "accepted"})}, Verdict.REFUSED),
        (shown(owner="ours", status="deactivated"), Verdict.REFUSED),
        (shown(visibility="public", status="deactivated"), Verdict.REFUSED),
        (shown(owner="ours", status="queued"), Verdict.REFUSED),
        ({}, Verdict.REFUSED),  # deleted
        ({f"/v2/images/{IMAGE}": (403, {})}, Verdict.SILENT),  # of the account itself
        ({f"/v2/images/{IMAGE}": (500, {})}, Verdict.SILENT),
        ({f"/v2/images/{IMAGE}": (200, "<html>")}, Verdict.SILENT),
    ],
)
async def test_what_follows(script: Script, verdict: Verdict) -> None:
    async with asked(script) as at:
        assert await at.verdict() is verdict
        assert all(each.one("x-auth-token") == "token-1" for each in at.origin.requests)
        assert not [each for each in at.origin.requests if each.one("x-project-id")]


async def test_a_token_that_was_revoked_is_replaced_once() -> None:
    async with asked(shown(owner="ours") | {"token-1": (401, {})}) as at:
        assert await at.verdict() is Verdict.ALLOWED
        assert at.log_ins == 2
    async with asked({"token-1": (401, {}), "token-2": (401, {})}) as at:
        assert await at.verdict() is Verdict.SILENT
        assert at.log_ins == 2


async def test_without_a_token_nothing_is_known() -> None:
    async with asked(shown(owner="ours")) as at:
        at.failing = True
        assert await at.verdict() is Verdict.SILENT
        assert not at.origin.requests
