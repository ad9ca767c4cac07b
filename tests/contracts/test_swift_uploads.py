"""What the Swift driver sends when it writes, and what it leaves when that fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    NoSpaceError,
    UnavailableError,
)
from backends.swift.store import SwiftStore
from contracts.answers import CONTENT
from contracts.subject import write
from contracts.swift_script import LOCATION, FakeSwift, created, status
from harness.raw_origin import Peer, Request
from harness.waiting import until_async

GONE = status("404 Not Found")
DELETED = status("204 No Content")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TWO_SEGMENTS: dict[str, Any] = {"large_object_bytes": 10, "segment_bytes": 5}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.swift.part._FIRST_PAUSE_SECONDS", 0)
    monkeypatch.setattr("backends.swift.upload._LOOK_PAUSE_SECONDS", 0)


async def hang_up(peer: Peer, head: Request) -> None:
    """Take the body, and say nothing."""
    await peer.send(CONTINUE)
    await peer.body(head)
    peer.reset()
    raise ConnectionResetError


class TestOneObject:
    async def test_must_be_new(self) -> None:
        swift = FakeSwift(GONE, created())
        swift.replies.append(swift.own())
        async with swift.store() as store:
            assert await write(store, "image", CONTENT) == LOCATION
        assert swift.asked_for() == [
            f"{method} /v1/AUTH_a/images/image" for method in ("HEAD", "PUT", "HEAD")
        ]
        put = swift.asked[1]
        assert put.one("if-none-match") == "*"
        assert put.one("content-length") == "10"
        assert put.one("expect") == "100-continue"

    async def test_other_bytes_than_were_sent(self) -> None:
        swift = FakeSwift(GONE, created(b"other"), GONE)
        async with swift.store(verify_uploads=True) as store:
            with pytest.raises(InvalidError, match="other bytes"):
                await write(store, "image", CONTENT)

    async def test_is_not_hashed_unless_told(self) -> None:
        swift = FakeSwift(GONE, created(b"other"))
        swift.replies.append(swift.own())
        async with swift.store() as store:
            assert await write(store, "image", CONTENT) == LOCATION

    async def test_that_arrived_and_is_not_right_is_deleted(self) -> None:
        swift = FakeSwift(GONE, created(b"other"))
        swift.replies += [swift.own(), DELETED]
        async with swift.store(verify_uploads=True) as store:
            with pytest.raises(InvalidError, match="other bytes"):
                await write(store, "image", CONTENT)

    async def test_sent_again_from_memory(self) -> None:
        swift = FakeSwift(GONE, hang_up, created())
        swift.replies.append(swift.own())
        async with swift.store(verify_uploads=True) as store:
            assert await write(store, "image", CONTENT) == LOCATION

    async def test_not_sent_again_if_it_is_not_kept(self) -> None:
        async def either(peer: Peer, head: Request) -> None:
            """Say that nothing is there, but to the upload, which comes before or after."""
            if head.method == "PUT":
                await hang_up(peer, head)
            await peer.send(GONE)

        swift = FakeSwift(GONE, either, either, GONE)
        options = {"upload_buffer_bytes": 5, "piece_bytes": 5, "segments_at_once": 1}
        async with swift.store(**options) as store, store.create("image", 10) as writer:
            await writer.write(CONTENT)
            with pytest.raises(UnavailableError):
                await writer.commit()

    @pytest.mark.parametrize("fails", [1, 2])
    async def test_sent_again_from_the_disk(self, tmp_path: Path, fails: int) -> None:
        swift = FakeSwift(GONE, *[hang_up] * fails, created(CONTENT[:6]), created(CONTENT[6:]))
        swift.replies += [created(b""), swift.own()]
        options = {"upload_buffer_bytes": 5, "piece_bytes": 5, "segments_at_once": 1}
        segments = {"large_object_bytes": 2, "segment_bytes": 6, "buffer_directory": tmp_path}
        async with swift.store(verify_uploads=True, **options, **segments) as store:
            await write(store, "image", CONTENT)

    async def test_a_disk_that_is_away_is_told(self, tmp_path: Path) -> None:
        async def either(peer: Peer, head: Request) -> None:
            if head.method == "PUT":
                await peer.send(CONTINUE)
                await peer.closed_by_peer()
                raise ConnectionResetError
            await peer.send(GONE)

        swift = FakeSwift(GONE, *[either] * 8)
        options = {"upload_buffer_bytes": 5, "piece_bytes": 5, "segments_at_once": 1}
        async with swift.store(buffer_directory=tmp_path / "away", **options) as store:
            with pytest.raises(UnavailableError, match="away"):
                await write(store, "image", CONTENT)
            swift.replies.clear()

    async def test_somebody_elses_in_its_place_stays(self) -> None:
        theirs = status("200 OK", "X-Object-Meta-Upload: theirs")
        swift = FakeSwift(GONE, created(), theirs, theirs)
        async with swift.store() as store:
            with pytest.raises(DuplicateError):
                await write(store, "image", CONTENT)
        assert not [line for line in swift.asked_for() if line.startswith("DELETE")]

    async def test_no_container(self) -> None:
        swift = FakeSwift(GONE, GONE, GONE)
        async with swift.store() as store:
            with pytest.raises(DeniedError, match="container"):
                await write(store, "image", CONTENT)


async def test_who_leaves_takes_back_what_arrives_afterwards() -> None:
    """All bytes are sent: Swift may store them, whether we wait for it or not."""
    arrived, left = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer, head: Request) -> None:
        await peer.send(CONTINUE)
        body = await peer.body(head)
        arrived.set()
        await left.wait()
        hung_up = asyncio.create_task(peer.reader.read(1))
        done, _ = await asyncio.wait({hung_up}, timeout=0.05)
        assert not done, "did not wait for the answer"
        hung_up.cancel()
        await asyncio.wait({hung_up})
        await peer.send(created(body))

    swift = FakeSwift(GONE, slow)
    swift.replies += [swift.own(), DELETED]
    async with swift.store() as store:
        writing = asyncio.create_task(write(store, "image", CONTENT))
        await arrived.wait()
        writing.cancel()
        left.set()
        await asyncio.wait({writing})
        assert writing.cancelled()
    assert swift.asked_for()[-1] == "DELETE /v1/AUTH_a/images/image"


class TestSegments:
    async def test_go_at_the_same_time(self) -> None:
        both_are_here = asyncio.Barrier(2)

        async def meet(peer: Peer, head: Request) -> None:
            await peer.send(CONTINUE)
            body = await peer.body(head)
            await both_are_here.wait()
            await peer.send(created(body))

        swift = FakeSwift(GONE, meet, meet, created(b""))
        swift.replies.append(swift.own())
        async with swift.store(**TWO_SEGMENTS) as store:
            assert await write(store, "image", CONTENT) == LOCATION
        manifest = swift.asked[3].one("x-object-manifest") or ""
        container, _, prefix = manifest.partition("/")
        assert container == "images"
        assert prefix.startswith("image-")
        segments = sorted(head.target for head in swift.asked[1:3])
        assert segments == [f"/v1/AUTH_a/images/{prefix}0000{number}" for number in (1, 2)]

    async def test_the_token_ends_between_two(self) -> None:
        """Renewed for the second, of which no byte was sent in vain."""
        unauthorized = status("401 Unauthorized")
        sent = created(CONTENT[:5]), unauthorized, created(CONTENT[5:]), created(b"")
        swift = FakeSwift(GONE, *sent)
        swift.replies.append(swift.own())
        async with swift.store(**TWO_SEGMENTS, segments_at_once=1) as store:
            assert await write(store, "image", CONTENT) == LOCATION
        assert swift.logins == 2
        tokens = [head.one("x-auth-token") for head in swift.asked]
        assert tokens == ["token-1"] * 3 + ["token-2"] * 3

    async def test_one_that_fails_takes_the_others_along(self) -> None:
        full = status("507 Insufficient Storage")
        swift = FakeSwift(GONE, created(CONTENT[:5]), full, DELETED, GONE)
        async with swift.store(**TWO_SEGMENTS, segments_at_once=1) as store:
            with pytest.raises(NoSpaceError):
                await write(store, "image", CONTENT)
        targets = [head.target for head in swift.asked]
        assert [head.method for head in swift.asked[3:]] == ["DELETE", "DELETE"]
        assert targets[3:] == targets[1:3]

    async def test_a_listing_that_comes_late_is_waited_for(self) -> None:
        swift = FakeSwift(GONE, created(CONTENT[:5]), created(CONTENT[5:]), created(b""))
        swift.replies += [swift.own(0), swift.own(5), swift.own(10)]
        async with swift.store(**TWO_SEGMENTS, segments_at_once=1) as store:
            assert await write(store, "image", CONTENT) == LOCATION

    async def test_a_listing_that_never_comes(self) -> None:
        swift = FakeSwift(GONE, created(CONTENT[:5]), created(CONTENT[5:]), created(b""))
        swift.replies += [swift.own(5)] * 6 + [DELETED] * 3
        async with swift.store(**TWO_SEGMENTS, segments_at_once=1) as store:
            with pytest.raises(UnavailableError, match="does not show all"):
                await write(store, "image", CONTENT)


async def test_a_store_that_never_asks_for_the_body() -> None:
    async def silent(peer: Peer, _: Request) -> None:
        await peer.closed_by_peer()
        raise ConnectionResetError

    swift = FakeSwift(GONE, silent, silent, silent, GONE)
    async with swift.store(stall_seconds=0.1) as store:
        with pytest.raises(UnavailableError, match="in time"):
            await write(store, "image", CONTENT)


@pytest.mark.parametrize("text", ["507 Full", "413 Quota"])
async def test_a_store_that_is_full_in_the_middle(text: str) -> None:
    async def full(peer: Peer, _: Request) -> None:
        await peer.send(CONTINUE)
        await peer.reader.readexactly(5)
        await peer.send(status(text, "Connection: close"))
        await peer.closed_by_peer()
        raise ConnectionResetError

    async def upload(store: SwiftStore) -> None:
        async with store.create("image", 20) as writer:
            await writer.write(CONTENT)
            await until_async("the answer", lambda: writer._failure() is not None)
            await writer.write(CONTENT)

    swift = FakeSwift(GONE, full, GONE)
    async with swift.store(piece_bytes=5) as store:
        with pytest.raises(NoSpaceError):
            await upload(store)
