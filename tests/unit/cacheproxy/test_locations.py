"""Where images are: which ways are asked, what is believed, and what is a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from backends.location import Location
from cacheproxy import locations as module
from cacheproxy.config import UpstreamSettings
from cacheproxy.errors import AccountError, UpstreamAnswerError
from cacheproxy.fill.source import Headers
from cacheproxy.imagerecord import Place
from cacheproxy.locations import (
    BELIEVED_SECONDS,
    MISSES_MAX,
    PROVED_SECONDS,
    SILENT_SECONDS,
    STANDSTILL_SECONDS,
    WAY_SECONDS,
    Locations,
)
from cacheproxy.meter import Board
from cacheproxy.metrics import LOCATION_QUESTIONS
from cacheproxy.upstream import Upstream
from harness.origin import Origin, OriginImage, origin

SECRET = "hush"
URL = f"s3://key:{SECRET}@s3.example/images/1"
TOLD: list[dict[str, Any]] = [
    {"url": URL, "metadata": {"store": "fast", "more": 1}},
    {"url": "rbd://a/b/c/snap"},
]
PLACES = (Place(Location(URL), "fast"), Place(Location("rbd://a/b/c/snap")))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class AccountFake:
    """An account, if it has a token."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.refusals = 0

    @property
    def configured(self) -> bool:
        return self.token is not None

    async def headers(self) -> Sequence[tuple[str, str]]:
        if not self.token:
            raise AccountError("Keystone does not answer")
        return [("X-Auth-Token", self.token)]

    def refused(self, headers: Headers) -> None:
        assert headers == [("X-Auth-Token", self.token)]
        self.refusals += 1


def by(token: str) -> Headers:
    return [("X-Auth-Token", token), ("Range", "bytes=0-1"), ("Host", "node")]


@dataclass
class Told:
    glance: Origin
    locations: Locations
    account: AccountFake
    clock: Clock
    board: Board

    def image(self, **record: Any) -> OriginImage:
        return self.glance.add(b"data", record=record)

    async def of(self, image: OriginImage, token: str = "t") -> tuple[Place, ...]:
        return await self.locations.of(image.id, by(token))


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    async with origin() as glance:
        board = Board.create(1)
        meter = board.meter(0)
        upstream = Upstream(UpstreamSettings(url=glance.url), meter)
        clock, account = Clock(), AccountFake()
        yield Told(glance, Locations(upstream, account, meter, clock), account, clock, board)
        await upstream.close()


async def test_the_record_tells_a_reader(told: Told) -> None:
    image = told.image(locations=TOLD, direct_url="file:///not/asked")
    assert await told.of(image) == PLACES
    assert SECRET not in repr(await told.of(image))
    assert image.shows == 1
    told.clock.now += BELIEVED_SECONDS
    assert await told.of(image) == PLACES
    assert (image.shows, image.location_requests) == (2, 0)
    assert told.board.total(LOCATION_QUESTIONS) == 2
    assert SECRET not in repr(told.locations)


@pytest.mark.parametrize(
    ("stores", "store"), [(None, None), ("fast", "fast"), ("fast,cheap", None)]
)
async def test_a_direct_url_is_of_the_only_store(
    told: Told, stores: str | None, store: str | None
) -> None:
    shown = {"stores": stores} if stores else {}
    image = told.image(direct_url=URL, locations=[], **shown)
    assert await told.of(image) == (Place(Location(URL), store),)


async def test_the_locations_api_is_asked_with_the_proxys_own_account(told: Told) -> None:
    told.account.token = "own"
    image = told.image()
    image.locations, image.location_tokens = TOLD, {"own"}
    assert await told.of(image) == PLACES
    assert (image.shows, image.location_requests) == (0, 1)


@pytest.mark.parametrize("refusal", [None, set[str]()])
async def test_what_the_api_does_not_tell_the_record_may(
    told: Told, refusal: set[str] | None
) -> None:
    told.account.token = "own"
    image = told.image()
    for count in range(MISSES_MAX + 2):
        image = told.image(locations=TOLD)
        if refusal is not None:
            image.locations, image.location_tokens = TOLD, refusal
        assert await told.of(image) == PLACES
        assert (image.shows, image.location_requests) == (1, int(count < MISSES_MAX))
    told.clock.now += WAY_SECONDS
    assert await told.of(image) == PLACES
    assert image.location_requests == 1


async def test_an_account_without_a_token_costs_nobody_the_record(told: Told) -> None:
    told.account.token = ""
    assert await told.of(told.image(locations=TOLD)) == PLACES


async def test_a_glance_that_shows_nothing_is_hardly_asked(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    images = [told.image() for _ in range(MISSES_MAX + 3)]
    for image in images:
        assert await told.of(image) == ()
    assert [image.shows for image in images] == [1] * MISSES_MAX + [0] * 3
    told.clock.now += WAY_SECONDS
    for image in images:
        assert await told.of(image) == ()
    assert sum(image.shows for image in images) == MISSES_MAX + 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_one_that_has_shown_some_is_asked_on(told: Told) -> None:
    assert await told.of(told.image(locations=TOLD)) == PLACES
    images = [told.image() for _ in range(MISSES_MAX + 3)]
    for image in images:
        assert await told.of(image) == ()
    assert all(image.shows == 1 for image in images)
    told.clock.now += PROVED_SECONDS
    for image in images:
        assert await told.of(image) == ()
    assert sum(image.shows for image in images) == len(images) + 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_is_the_readers(told: Told, status: int) -> None:
    image = told.image(locations=TOLD)
    assert await told.of(image) == PLACES
    image.show_tokens, image.refusal = {"other"}, status
    assert await told.of(image) == PLACES
    told.clock.now += BELIEVED_SECONDS
    with pytest.raises(UpstreamAnswerError) as raised:
        await told.of(image)
    assert raised.value.status == status
    assert await told.of(image, "other") == PLACES
    image.show_tokens, image.show_status = None, 503
    assert await told.of(image) == ()  # what he was told once, he is told no more


async def test_silence_is_no_refusal(told: Told) -> None:
    image = told.image(locations=TOLD)
    assert await told.of(image) == PLACES
    for status in (500, 503, 429):
        image.show_status = status
        told.clock.now += BELIEVED_SECONDS
        assert await told.of(image) == PLACES
        assert await told.of(image, "stranger") == ()
    told.clock.now += SILENT_SECONDS
    assert await told.of(image) == ()
    image.show_status = 200
    assert await told.of(image) == PLACES


async def test_what_is_forgotten_is_asked_anew(told: Told) -> None:
    image, other = told.image(locations=TOLD), told.image(locations=TOLD)
    for _ in range(2):
        assert await told.of(image) == await told.of(image, "u") == await told.of(other) == PLACES
        told.locations.forget(image.id)
    assert (image.shows, other.shows) == (4, 1)


async def test_what_is_known_is_bounded(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES_MAX", 2)
    first, *others = [told.image(locations=TOLD) for _ in range(3)]
    for image in (first, *others, first):
        assert await told.of(image) == PLACES
    assert [first.shows, *(image.shows for image in others)] == [2, 1, 1]
    assert "2 known" in repr(told.locations)


async def test_a_document_that_is_none_is_silence(told: Told) -> None:
    for wrong in ({"locations": "everywhere"}, {"direct_url": 5}, {"locations": [{"url": 1}]}):
        assert await told.of(told.image(**wrong)) == ()


async def test_who_waited_in_vain_waited_for_all(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, other = told.image(locations=TOLD), told.image(locations=TOLD)
    assert await told.of(image) == PLACES
    told.account.token = "own"
    asked = 0

    async def no_answer() -> Headers:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    told.clock.now += BELIEVED_SECONDS
    with monkeypatch.context() as patch:
        patch.setattr(module, "ASK_SECONDS", 0.01)
        patch.setattr(told.account, "headers", no_answer)
        assert await told.of(other) == ()
        assert await told.of(other) == ()
        assert await told.of(image) == PLACES  # that was told before
        assert asked == 1
    told.clock.now += STANDSTILL_SECONDS
    assert await told.of(other) == PLACES
