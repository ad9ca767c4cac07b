"""Keystone and Swift on one scripted server: what they say, to the byte."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from backends.location import Location
from backends.swift.options import SwiftAccount, SwiftOptions
from backends.swift.store import SwiftStore
from contracts.answers import CONTENT, answer
from harness.raw_origin import Peer, RawOrigin, Request, raw_origin

Answering = Callable[[Peer, Request], Awaitable[None]]
LOCATION = Location("swift+config://ref1/images/image")


class FakeSwift:
    """Keystone and Swift on one raw server; `replies` are what Swift says, in order."""

    def __init__(self, *replies: bytes | Answering) -> None:
        self.replies = list(replies)
        self.logins = 0
        self.origin = RawOrigin()
        self.asked: list[Request] = []
        self.expires = "2100-01-01T00:00:00.000000Z"
        self.logged_in = asyncio.Event()
        self.login_may_go_on = asyncio.Event()
        self.login_may_go_on.set()

    async def __call__(self, peer: Peer) -> None:
        while True:
            head = await peer.head()
            if head.target == "/v3/auth/tokens":
                await peer.body(head)
                self.logins += 1
                self.logged_in.set()
                await self.login_may_go_on.wait()
                await peer.send(self._token())
                continue
            self.asked.append(head)
            assert self.replies, f"nothing is said to {head.method} {head.target}"
            reply = self.replies.pop(0)
            if not isinstance(reply, bytes):
                await reply(peer, head)
                continue
            if head.one("expect") and reply.startswith(b"HTTP/1.1 201"):
                await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                await peer.body(head)
            await peer.send(reply)
            if head.one("expect") or b"Connection: close" in reply:
                return

    def _token(self) -> bytes:
        endpoint = {
            "interface": "public",
            "url": f"{self.origin.url}/v1/AUTH_a",
            "region": "RegionOne",
            "region_id": "RegionOne",
            "id": "1",
        }
        token: dict[str, Any] = {
            "methods": ["password"],
            "expires_at": self.expires,
            "issued_at": "2000-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p", "name": "p", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "r", "name": "member"}],
            "catalog": [{"type": "object-store", "id": "2", "endpoints": [endpoint]}],
        }
        body = json.dumps({"token": token}).encode()
        return answer(
            "201 Created",
            f"Content-Length: {len(body)}",
            "Content-Type: application/json",
            f"X-Subject-Token: token-{self.logins}",
            body=body,
        )

    @asynccontextmanager
    async def store(self, **options: Any) -> AsyncIterator[SwiftStore]:
        async with raw_origin(self) as origin:
            self.origin = origin
            account = SwiftAccount(f"{origin.url}/v3", "project:user", "secret")
            defaults: dict[str, Any] = {
                "locations_name_references": True,
                "container": "images",
                "accounts": {"ref1": account},
            }
            store = SwiftStore(SwiftOptions(**(defaults | options)))
            try:
                yield store
            finally:
                await store.aclose()
        assert not self.replies, "Swift was asked less than expected"

    def own(self, size: int = len(CONTENT)) -> Answering:
        """Show the object that was put last, as long as said."""

        async def show(peer: Peer, _: Request) -> None:
            put = [head for head in self.asked if head.method == "PUT"][-1]
            mark = put.one("x-object-meta-upload")
            head = answer("200 OK", f"Content-Length: {size}", f"X-Object-Meta-Upload: {mark}")
            await peer.send(head)

        return show

    def asked_for(self) -> list[str]:
        return [f"{request.method} {request.target}" for request in self.asked]


def status(text: str, *headers: str) -> bytes:
    return answer(text, "Content-Length: 0", *headers)


def whole(content: bytes = CONTENT, *headers: str) -> bytes:
    return answer("200 OK", f"Content-Length: {len(content)}", *headers, body=content)


def cut(content: bytes, *headers: str) -> bytes:
    """Return an answer that ends after these of ten bytes."""
    return answer("200 OK", "Content-Length: 10", "Connection: close", *headers, body=content)


def created(content: bytes = CONTENT) -> bytes:
    return status("201 Created", f"ETag: {hashlib.md5(content).hexdigest()}")
