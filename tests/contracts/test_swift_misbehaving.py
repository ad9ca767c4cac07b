"""What the Swift driver makes of servers that do not do what Swift does."""

from __future__ import annotations

import asyncio
import json

import pytest

from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    ThrottledError,
    UnavailableError,
)
from backends.spans import Span
from backends.swift.options import SwiftAccount, SwiftOptions
from backends.swift.store import SwiftStore
from contracts.answers import CONTENT, answer, partial_content
from contracts.subject import read, write
from contracts.swift_script import LOCATION, FakeSwift, cut, status, whole
from harness.raw_origin import Peer, Request, raw_origin


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("403 No", DeniedError),
        ("404 No", MissingError),
        ("408 Late", UnavailableError),
        ("429 Slowly", ThrottledError),
        ("498 Slowly", ThrottledError),
        ("500 Oh", UnavailableError),
        ("503 Oh", UnavailableError),
        ("507 Full", NoSpaceError),
        ("302 Elsewhere", InvalidError),
        ("400 What", InvalidError),
    ],
)
async def test_refusals(text: str, error: type[StoreError]) -> None:
    swift = FakeSwift(status(text), status(text), status(text))
    async with swift.store() as store:
        for operation in (store.stat(LOCATION), read(store, LOCATION), store.delete(LOCATION)):
            with pytest.raises(StoreError) as caught:
                await operation
            assert type(caught.value) is error
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("403 No", DeniedError),
        ("409 Taken", DuplicateError),
        ("412 Taken", DuplicateError),
        ("413 Quota", NoSpaceError),
        ("429 Slowly", ThrottledError),
        ("507 Full", NoSpaceError),
        ("422 Other bytes", InvalidError),
    ],
)
async def test_refused_writes(
    text: str, error: type[StoreError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.swift.part._FIRST_PAUSE_SECONDS", 0)
    attempts = 3 if error is ThrottledError else 1
    gone = status("404 Not Found")
    swift = FakeSwift(gone, *[status(text)] * attempts, gone)
    async with swift.store() as store:
        with pytest.raises(StoreError) as caught:
            await write(store, "image", CONTENT)
        assert type(caught.value) is error


class TestTokens:
    async def test_one_for_many(self) -> None:
        swift = FakeSwift(*[whole()] * 8)
        async with swift.store() as store:
            reads = [asyncio.create_task(read(store, LOCATION)) for _ in range(8)]
            assert await asyncio.gather(*reads) == [CONTENT] * 8
        assert swift.logins == 1

    async def test_a_refused_one_is_replaced_once(self) -> None:
        refused = 4
        waiting = asyncio.Barrier(refused)

        async def refuse(peer: Peer, head: Request) -> None:
            assert head.one("x-auth-token") == "token-1"
            await waiting.wait()
            await peer.send(status("401 Unauthorized"))

        swift = FakeSwift(whole(), *[refuse] * refused, *[whole()] * refused)
        async with swift.store() as store:
            assert await read(store, LOCATION) == CONTENT
            reads = [asyncio.create_task(read(store, LOCATION)) for _ in range(refused)]
            assert await asyncio.gather(*reads) == [CONTENT] * refused
        assert swift.logins == 2
        assert swift.asked[-1].one("x-auth-token") == "token-2"

    async def test_a_new_one_is_refused_too(self) -> None:
        swift = FakeSwift(status("401 Unauthorized"), status("401 Unauthorized"))
        async with swift.store() as store:
            with pytest.raises(DeniedError):
                await store.stat(LOCATION)
        assert swift.logins == 2

    async def test_one_that_ends_soon_is_not_used(self) -> None:
        swift = FakeSwift(whole(), whole())
        swift.expires = "2000-01-01T00:00:30.000000Z"
        async with swift.store() as store:
            for _ in range(2):
                assert await read(store, LOCATION) == CONTENT
        assert [head.one("x-auth-token") for head in swift.asked] == ["token-1", "token-2"]

    async def test_who_waits_may_leave(self) -> None:
        swift = FakeSwift(whole())
        swift.login_may_go_on.clear()
        async with swift.store() as store:
            leaving = asyncio.create_task(read(store, LOCATION))
            staying = asyncio.create_task(read(store, LOCATION))
            await swift.logged_in.wait()
            leaving.cancel()
            await asyncio.wait({leaving})
            assert leaving.cancelled()
            swift.login_may_go_on.set()
            assert await staying == CONTENT
        assert swift.logins == 1


class TestReadsThatBreak:
    @pytest.mark.parametrize("span", [None, Span(0, 10), Span.since(0)])
    async def test_go_on_at_the_byte(self, span: Span | None) -> None:
        rest = partial_content("bytes 4-9/10", CONTENT[4:], "Content-Length: 6", "ETag: a")
        swift = FakeSwift(cut(CONTENT[:4], "ETag: a"), rest)
        async with swift.store(resumptions=1) as store:
            assert await read(store, LOCATION, span) == CONTENT
        assert swift.asked[1].one("range") in ("bytes=4-", "bytes=4-9")

    async def test_with_another_token(self) -> None:
        rest = partial_content("bytes 4-9/10", CONTENT[4:], "Content-Length: 6")
        swift = FakeSwift(cut(CONTENT[:4]), status("401 Unauthorized"), rest)
        async with swift.store(resumptions=1) as store:
            assert await read(store, LOCATION) == CONTENT
        assert swift.logins == 2

    async def test_not_more_often_than_said(self) -> None:
        swift = FakeSwift(cut(CONTENT[:4]), status("503 Oh"), status("503 Oh"))
        async with swift.store(resumptions=2) as store:
            with pytest.raises(UnavailableError):
                await read(store, LOCATION)

    async def test_nor_without_being_told(self) -> None:
        swift = FakeSwift(cut(CONTENT[:4]))
        async with swift.store() as store:
            with pytest.raises(UnavailableError, match=r"cut|ended"):
                await read(store, LOCATION)

    @pytest.mark.parametrize(
        "rest",
        [
            partial_content("bytes 4-9/10", b"xxxxxx", "Content-Length: 6", "ETag: b"),
            partial_content("bytes 4-9/11", b"xxxxxx", "Content-Length: 6", "ETag: a"),
            partial_content("bytes 3-8/10", b"xxxxxx", "Content-Length: 6", "ETag: a"),
        ],
    )
    async def test_never_into_another_object(self, rest: bytes) -> None:
        swift = FakeSwift(cut(CONTENT[:4], "ETag: a"), rest)
        async with swift.store(resumptions=1) as store:
            with pytest.raises(InvalidError):
                await read(store, LOCATION)

    async def test_a_range_that_is_ignored(self) -> None:
        swift = FakeSwift(whole())
        async with swift.store() as store:
            assert await read(store, LOCATION, Span(2, 5)) == CONTENT[2:5]

    async def test_more_than_announced(self) -> None:
        swift = FakeSwift(partial_content("bytes 0-4/10", CONTENT[:4], "Content-Length: 4"))
        async with swift.store() as store:
            with pytest.raises(InvalidError):
                await read(store, LOCATION, Span(0, 5))

    async def test_a_range_refused_without_reason(self) -> None:
        swift = FakeSwift(status("416 No", "Content-Range: bytes */10"))
        async with swift.store() as store:
            with pytest.raises(InvalidError):
                await read(store, LOCATION, Span(5, 6))


class TestStaticLargeObjects:
    def report(self, code: str, absent: int = 0, errors: tuple[str, ...] = ()) -> bytes:
        body = json.dumps(
            {"Response Status": code, "Number Not Found": absent, "Errors": list(errors)}
        ).encode()
        return answer("200 OK", f"Content-Length: {len(body)}", body=body)

    @pytest.mark.parametrize(
        ("code", "absent", "errors", "error"),
        [
            ("200 OK", 0, (), None),
            ("400 Bad Request", 1, (), None),  # a segment had gone before
            ("400 Bad Request", 0, ("x",), InvalidError),
            ("503 Oh", 0, ("x",), UnavailableError),
            ("nothing", 0, (), InvalidError),
        ],
    )
    async def test_are_deleted_by_swift(
        self, code: str, absent: int, errors: tuple[str, ...], error: type[StoreError] | None
    ) -> None:
        found = status("200 OK", "X-Static-Large-Object: True")
        swift = FakeSwift(found, self.report(code, absent, errors))
        async with swift.store() as store:
            if error is None:
                await store.delete(LOCATION)
            else:
                with pytest.raises(error):
                    await store.delete(LOCATION)
        assert swift.asked_for()[-1].endswith("/images/image?multipart-manifest=delete")


async def test_segments_whose_container_is_gone_are_deleted() -> None:
    found = status("200 OK", "X-Object-Manifest: segments/image-")
    swift = FakeSwift(found, status("404 Not Found"), status("204 No Content"))
    async with swift.store() as store:
        await store.delete(LOCATION)
    assert swift.asked_for()[-1] == "DELETE /v1/AUTH_a/images/image"


async def test_no_endpoint() -> None:
    swift = FakeSwift()
    async with swift.store(region="Elsewhere") as store:
        with pytest.raises(InvalidError, match="Elsewhere"):
            await store.stat(LOCATION)


@pytest.mark.parametrize(
    ("text", "error"),
    [("401 No", DeniedError), ("404 What", InvalidError), ("503 Oh", UnavailableError)],
)
async def test_keystone_refuses(text: str, error: type[StoreError]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(status(text))

    async with raw_origin(script) as origin:
        account = SwiftAccount(origin.url, "project:user", "secret")
        store = SwiftStore(SwiftOptions({"ref1": account}, locations_name_references=True))
        with pytest.raises(error) as caught:
            await store.stat(LOCATION)
        assert "secret" not in str(caught.value)
        assert origin.requests[0].target == "/v3/auth/tokens"
        await store.aclose()
