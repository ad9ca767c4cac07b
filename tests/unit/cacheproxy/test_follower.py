"""How a node learns that images are gone: what it asks, and what it believes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from cacheproxy import follower as module
from cacheproxy.account import Account, Token
from cacheproxy.config import ServiceUserSettings
from cacheproxy.core.records import FeedPosition, ImageRecord
from cacheproxy.errors import UpstreamUnreachableError
from cacheproxy.fill.gone import GoneImages
from cacheproxy.follower import Follower
from cacheproxy.headers import Headers
from cacheproxy.meter import Board
from cacheproxy.store.recordbook import RecordBook

RECORD = ImageRecord(1, None, None, None, "content")
Script = Callable[[str, str | None], tuple[int, Any]]  # a target and a token → an answer


class EnoughError(Exception):
    """Ends a follower where the test has seen what it wanted."""


class FakeBook:
    """The two kinds of records that a follower uses, in memory."""

    def __init__(self, **images: ImageRecord) -> None:
        self.records = dict(images)
        self.position: FeedPosition | None = None

    async def images(self) -> AsyncIterator[tuple[str, ImageRecord]]:
        for item in list(self.records.items()):
            yield item

    def image(self, image_id: str) -> ImageRecord | None:
        return self.records.get(image_id)

    def put_image(self, image_id: str, record: ImageRecord) -> None:
        self.records[image_id] = record

    def feed_position(self) -> FeedPosition | None:
        return self.position

    def put_feed_position(self, position: FeedPosition) -> None:
        self.position = position


class FakeGone:
    """Forgets at once."""

    def __init__(self, book: FakeBook) -> None:
        self.book = book
        self.forgotten: list[set[str]] = []
        self.told: list[str] = []
        self.changed: list[str] = []
        self.busy: set[str] = set()

    async def forget(self, image_ids: Collection[str]) -> set[str]:
        if image_ids:
            self.forgotten.append(set(image_ids))
        for image_id in image_ids:
            self.book.records.pop(image_id, None)
        return self.busy & set(image_ids)

    def tell(self, image_ids: Collection[str]) -> None:
        self.told += image_ids


class FakeUpstream:
    """Answers by a script; notes what was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[str] = []

    @asynccontextmanager
    async def exchange(self, method: str, target: str, headers: Headers) -> AsyncIterator[Any]:
        assert method == "GET"
        self.asked.append(target)
        status, body = self.script(target, dict(headers).get("X-Auth-Token"))
        pieces = [body if isinstance(body, bytes) else json.dumps(body).encode(), b""]

        async def piece() -> bytes:
            return pieces.pop(0) if pieces else b""

        yield SimpleNamespace(status=status, piece=piece)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make pauses short, and note the long ones; the second of those ends the follower."""
    paused: list[float] = []
    give_way = asyncio.sleep

    async def sleep(seconds: float) -> None:
        await give_way(0)
        if seconds > module.QUESTION_PAUSE_SECONDS:
            paused.append(seconds)
            if len(paused) == 2:
                raise EnoughError

    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    return paused


async def follow(
    script: Script,
    book: FakeBook,
    *,
    account: Account | None = None,
    poll: float = 60.0,
    read_timeout: float = 60.0,
) -> tuple[FakeGone, list[str]]:
    """Follow until the upstream, or the second pause, ends it."""
    upstream, gone = FakeUpstream(script), FakeGone(book)
    follower = Follower(
        upstream,
        account or Account(ServiceUserSettings()),
        cast("RecordBook", book),
        cast("GoneImages", gone),
        poll_seconds=poll,
        read_timeout_seconds=read_timeout,
        on_change=gone.changed.append,
        meter=Board.create(1).meter(0),
    )
    with suppress(EnoughError):
        await follower.run()
    return gone, upstream.asked


def account() -> Account:
    """Return an account whose tokens are numbered."""
    numbers = iter(range(1, 100))

    def log_in(_: ServiceUserSettings) -> Token:
        return Token(f"token-{next(numbers)}", datetime.now(UTC) + timedelta(hours=1))

    return Account(ServiceUserSettings(auth_url="http://keystone.example/v3"), log_in)


async def test_a_feed_is_followed_from_where_it_was_left() -> None:
    book = FakeBook(a=RECORD, b=RECORD, c=RECORD)
    book.position = FeedPosition("e", 7)
    pages = [
        {"last": 9, "epoch": "e", "changes": [change(8, "a"), change(9, "b", "deactivated")]},
        {"last": 9, "epoch": "e", "changes": []},
        {"last": 10, "epoch": "e", "changes": [change(10, "c")]},
    ]

    def script(_: str, token: str | None) -> tuple[int, Any]:
        assert token is None
        if not pages:
            raise EnoughError
        return 200, pages.pop(0)

    gone, asked = await follow(script, book)
    assert gone.forgotten == [{"a"}, {"c"}]
    assert gone.changed == ["a", "b", "c"]  # the upstream is asked again about all of these
    assert book.position == FeedPosition("e", 10)
    queries = [parse_qs(urlsplit(target).query) for target in asked]
    assert [query["after"] for query in queries] == [["7"], ["9"], ["9"], ["10"]]
    assert all(query["epoch"] == ["e"] and query["wait"] for query in queries)


def change(seq: int, image_id: str, kind: str = "deleted") -> dict[str, Any]:
    return {"seq": seq, "image_id": image_id, "change": kind, "at": "whenever"}


async def test_the_position_is_noted_once_the_images_are_forgotten() -> None:
    book = FakeBook(a=RECORD)
    book.position = FeedPosition("e", 1)

    class Failing(FakeGone):
        async def forget(self, image_ids: Collection[str]) -> set[str]:
            assert image_ids == {"a"}
            assert book.position == FeedPosition("e", 1)
            raise EnoughError

    upstream = FakeUpstream(
        lambda *_: (200, {"last": 2, "epoch": "e", "changes": [change(2, "a")]})
    )
    follower = Follower(
        upstream,
        Account(ServiceUserSettings()),
        cast("RecordBook", book),
        cast("GoneImages", Failing(book)),
        poll_seconds=60.0,
        read_timeout_seconds=60.0,
        on_change=lambda _: None,
        meter=Board.create(1).meter(0),
    )
    with pytest.raises(EnoughError):
        await follower.run()
    assert book.position == FeedPosition("e", 1)


async def test_where_the_history_is_gone_all_images_are_looked_at() -> None:
    book = FakeBook(
        here=ImageRecord(1, None, None, None, "x", seen=True),
        gone=ImageRecord(1, None, None, None, "x", seen=True),
        new=RECORD,
    )
    book.position = FeedPosition("old", 3)

    def script(target: str, _: str | None) -> tuple[int, Any]:
        if target.startswith("/v2/cacheproxy/changes"):
            if "epoch=old" in target:
                return 410, b"<html>410 Gone</html>"
            if "after" in target:
                raise EnoughError
            return 200, {"changes": [], "last": 50, "epoch": "new"}
        if target == "/v2/images?limit=1":
            return 200, {"images": []}
        return (200, {}) if target.endswith("/here") else (404, {})

    gone, _ = await follow(script, book)
    assert gone.forgotten == [{"gone"}]  # the new one was never shown: its 404 says nothing
    assert book.position == FeedPosition("new", 50)


async def test_a_stock_glance_is_asked_image_by_image(no_pauses: list[float]) -> None:
    book = FakeBook(a=RECORD, b=ImageRecord(1, None, None, None, "x", seen=True))
    there = {"a"}

    def script(target: str, token: str | None) -> tuple[int, Any]:
        assert token == "token-1"
        if target == "/v2/images?limit=1":
            return 200, {"images": []}
        name = target.rpartition("/")[2]
        return (200, {}) if name in there else (404, {})

    gone, asked = await follow(script, book, account=account(), poll=5000.0)
    assert gone.forgotten == [{"b"}]
    assert book.records["a"].seen
    # Asked for a feed again after an hour, for the images not yet.
    assert len([target for target in asked if target.startswith("/v2/cacheproxy")]) == 2
    assert len([target for target in asked if target == "/v2/images/a"]) == 1
    assert no_pauses[0] >= module.FEED_RETRY_SECONDS


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500, 503])
async def test_an_upstream_that_does_not_work_says_nothing(status: int) -> None:
    record = ImageRecord(1, None, None, None, "x", seen=True)
    book = FakeBook(a=record)

    def script(target: str, _: str | None) -> tuple[int, Any]:
        return (404 if "/a" in target else status), b"<html>"

    gone, asked = await follow(script, book, account=account())
    assert gone.forgotten == []
    assert not any(target.endswith("/a") for target in asked)
    assert book.records == {"a": record}


async def test_an_upstream_that_fails_in_the_middle_is_asked_later() -> None:
    seen = ImageRecord(1, None, None, None, "x", seen=True)
    book = FakeBook(a=seen, b=seen, c=seen)

    def script(target: str, _: str | None) -> tuple[int, Any]:
        if target.startswith("/v2/images?"):
            return 200, {"images": []}
        if target.endswith("/b"):
            raise UpstreamUnreachableError("cut")
        return 404, b""

    gone, _ = await follow(script, book, account=account())
    assert gone.forgotten == []


async def test_what_happens_to_an_image_meanwhile_is_not_undone() -> None:
    book = FakeBook(a=RECORD, b=RECORD)
    bound_anew = ImageRecord(1, None, None, None, "another")

    def script(target: str, _: str | None) -> tuple[int, Any]:
        if target.endswith("/a"):
            del book.records["a"]
        if target.endswith("/b"):
            book.records["b"] = bound_anew
        return (200 if "/v2/images" in target else 404), {}

    await follow(script, book, account=account())
    assert book.records == {"b": msgspec.structs.replace(bound_anew, seen=True)}


@pytest.mark.parametrize(("read_timeout", "wait"), [(60.0, 30), (20.0, 10), (1.0, 1)])
async def test_the_feed_answers_before_it_is_given_up(read_timeout: float, wait: int) -> None:
    book = FakeBook()
    book.position = FeedPosition("e", 1)
    waits: list[str] = []

    def script(target: str, _: str | None) -> tuple[int, Any]:
        waits.extend(parse_qs(urlsplit(target).query)["wait"])
        return 404, b""

    await follow(script, book, read_timeout=read_timeout)
    assert set(waits) == {str(wait)}


async def test_a_refused_token_is_replaced_once() -> None:
    book = FakeBook()
    tokens: list[str | None] = []

    def script(_: str, token: str | None) -> tuple[int, Any]:
        tokens.append(token)
        return 401, b""

    await follow(script, book, account=account())
    assert tokens[:2] == ["token-1", "token-2"]


async def test_without_an_account_a_stock_glance_is_left_alone() -> None:
    book = FakeBook(a=ImageRecord(1, None, None, None, "x", seen=True))
    gone, asked = await follow(lambda *_: (404, b""), book)
    assert gone.forgotten == []
    assert all(target.startswith("/v2/cacheproxy/changes") for target in asked)


async def test_those_that_are_being_filled_are_told_again() -> None:
    book = FakeBook(a=RECORD)
    book.position = FeedPosition("e", 1)
    pages = [{"last": 2, "epoch": "e", "changes": [change(2, "a")]}]
    gone = FakeGone(book)
    gone.busy = {"a"}

    def script(*_: object) -> tuple[int, Any]:
        if not pages:
            raise EnoughError
        return 200, pages.pop()

    follower = Follower(
        FakeUpstream(script),
        Account(ServiceUserSettings()),
        cast("RecordBook", book),
        cast("GoneImages", gone),
        poll_seconds=60.0,
        read_timeout_seconds=60.0,
        on_change=lambda _: None,
        meter=Board.create(1).meter(0),
    )
    with suppress(EnoughError):
        await follower.run()
    assert gone.told == ["a"]


async def test_one_image_that_is_never_shown_does_not_hide_the_others() -> None:
    seen = ImageRecord(1, None, None, None, "x", seen=True)
    book = FakeBook(broken=seen, gone=seen, ill=seen, here=seen)

    def script(target: str, _: str | None) -> tuple[int, Any]:
        name = target.rpartition("/")[2]
        return {"broken": 500, "ill": 503, "gone": 404, "changes": 404}.get(name, 200), b""

    gone, _ = await follow(script, book, account=account())
    assert gone.forgotten == [{"gone"}]


async def test_an_upstream_that_shows_nothing_is_failing() -> None:
    seen = ImageRecord(1, None, None, None, "x", seen=True)
    book = FakeBook(gone=seen, a=seen, b=seen, c=seen, d=seen)
    asked: list[str] = []

    def script(target: str, _: str | None) -> tuple[int, Any]:
        name = target.rpartition("/")[2]
        asked.append(name)
        return {"images?limit=1": 200, "gone": 404}.get(name, 500 if len(name) == 1 else 404), b""

    gone, _ = await follow(script, book, account=account())
    assert gone.forgotten == []
    assert "d" not in asked


@pytest.mark.parametrize(
    ("shown", "replaced"),
    [
        ({"status": "active", "size": 1, "created_at": "later"}, True),
        ({"status": "active", "size": 2, "created_at": "then"}, True),
        ({"status": "active", "size": 1, "created_at": "then"}, False),
        ({"status": "queued", "size": None}, False),  # nothing that could be the image's content
        (b"<html>", False),
    ],
)
async def test_an_id_that_is_used_again_is_another_image(shown: Any, replaced: bool) -> None:
    book = FakeBook(a=msgspec.structs.replace(RECORD, created_at="then"))

    def script(target: str, _: str | None) -> tuple[int, Any]:
        if "changes" in target:
            return 404, {}
        return 200, {} if "limit" in target else shown

    gone, _ = await follow(script, book, account=account())
    assert ({"a"} in gone.forgotten) is replaced
