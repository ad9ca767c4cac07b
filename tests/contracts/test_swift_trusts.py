"""Uploads that outlive their caller's token, with the real Keystone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.errors import DeniedError
from backends.location import Location
from backends.swift.store import SwiftStore
from contracts.answers import CONTENT as SHORT
from contracts.answers import answer
from contracts.subject import PIECE, pattern, read, write
from contracts.swift import account, opened, options_of
from contracts.swift_script import FakeSwift, created, status
from harness.http import ask
from harness.keystone import GLANCE, MEMBER
from harness.raw_origin import Peer, Request
from harness.swift import Swift
from harness.waiting import until

CONTENT = pattern(3 * PIECE)
TOKEN_SECONDS = 10  # enough to begin an upload


def has_ended(swift: Swift, token: str) -> bool:
    headers = {"X-Auth-Token": swift.keystone.token(GLANCE), "X-Subject-Token": token}
    return ask("GET", f"{swift.keystone.url}/auth/tokens", headers=headers).status == 404


def trusts(swift: Swift) -> list[str]:
    answer = swift.keystone.call("GET", "/OS-TRUST/trusts").expect(200)
    return [each["id"] for each in answer.json()["trusts"]]


async def upload(store: SwiftStore, swift: Swift, name: str, known: int | None) -> Location:
    """Write an image with a token that ends after its first segment was sent."""
    token = await asyncio.to_thread(swift.keystone.ending_token, MEMBER, TOKEN_SECONDS)
    caller = store.acting_for(token, await asyncio.to_thread(swift.account, MEMBER))
    async with caller.create(name, known) as writer:
        await writer.write(CONTENT[: 2 * PIECE])
        await asyncio.to_thread(until, "the end of a token", lambda: has_ended(swift, token))
        await writer.write(CONTENT[2 * PIECE :])
        return (await writer.commit()).location


@pytest.fixture(params=[True, False])
async def store(swift: Swift, request: pytest.FixtureRequest) -> AsyncIterator[SwiftStore]:
    """Open a multi-tenant store, with trusts and without."""
    changed: dict[str, Any] = {"large_object_bytes": 2, "segment_bytes": PIECE}
    accounts = {"ref1": account(swift)}
    options = options_of(
        swift, accounts=accounts, multi_tenant=True, use_trusts=request.param, **changed
    )
    async with opened(options) as store:
        yield store


@pytest.mark.parametrize("known", [len(CONTENT), None])
@pytest.mark.parametrize("store", [True], indirect=True)
async def test_goes_on_by_a_trust_that_ends_with_it(
    store: SwiftStore, swift: Swift, known: int | None
) -> None:
    location = await upload(store, swift, "image", known)
    assert trusts(swift) == []
    token = await asyncio.to_thread(swift.keystone.token, MEMBER)
    member = store.acting_for(token, swift.account(MEMBER))
    assert await read(member, location) == CONTENT
    await member.delete(location)


@pytest.mark.parametrize("store", [False], indirect=True)
async def test_ends_with_the_token_without_one(store: SwiftStore, swift: Swift) -> None:
    with pytest.raises(DeniedError):
        await upload(store, swift, "image", len(CONTENT))


TWO_SEGMENTS: dict[str, Any] = {
    "multi_tenant": True,
    "locations_name_references": False,
    "large_object_bytes": 2,
    "segment_bytes": 5,
    "segments_at_once": 1,
}


async def test_keystone_makes_none() -> None:
    """It goes on with the caller's token, as if there were no trusts."""

    async def refuse(peer: Peer, head: Request) -> None:
        await peer.body(head)
        await peer.send(answer("403 Forbidden", "Content-Length: 2", body=b"{}"))

    sent = created(SHORT[:5]), created(SHORT[5:]), created(b"")
    swift = FakeSwift(status("404 Not Found"), refuse, *sent)
    swift.replies.append(swift.own())
    async with swift.store(**TWO_SEGMENTS) as store:
        caller = store.acting_for("token", f"{swift.origin.url}/v1/AUTH_a")
        await write(caller, "image", SHORT)
    assert swift.asked[1].target == "/v3/OS-TRUST/trusts"
    assert {head.one("x-auth-token") for head in swift.asked} == {"token"}


async def test_who_leaves_while_one_is_made_leaves_none() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def make(peer: Peer, head: Request) -> None:
        await peer.body(head)
        asked.set()
        await left.wait()
        body = b'{"trust": {"id": "made"}}'
        await peer.send(answer("201 Created", f"Content-Length: {len(body)}", body=body))

    swift = FakeSwift(status("404 Not Found"), make, status("204 No Content"))
    async with swift.store(**TWO_SEGMENTS) as store:
        caller = store.acting_for("token", f"{swift.origin.url}/v1/AUTH_a")
        writing = asyncio.create_task(write(caller, "image", SHORT))
        await asked.wait()
        writing.cancel()
        left.set()
        await asyncio.wait({writing})
        assert writing.cancelled()
    assert swift.asked_for()[-1] == "DELETE /v3/OS-TRUST/trusts/made"
