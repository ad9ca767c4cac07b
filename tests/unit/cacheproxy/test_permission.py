"""Who may download: asked once, believed briefly, forgotten on a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from cacheproxy.config import UpstreamSettings
from cacheproxy.headers import Headers
from cacheproxy.permission import HARMLESS, Permissions

ALICE = [("X-Auth-Token", "alice")]
BOB = [("X-Auth-Token", "bob")]
SECONDS = 10.0
ENTRIES_MAX = 4


class Glance:
    """Answers with what the test says, when the test says it."""

    def __init__(self) -> None:
        self.status: int | None = 416
        self.asked: list[tuple[str, Headers]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def may_download(self, image_id: str, headers: Headers) -> int | None:
        self.asked.append((image_id, headers))
        status = self.status
        await self.open.wait()
        return status


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def glance() -> Glance:
    return Glance()


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[[], Permissions]


@pytest.fixture
def make(glance: Glance, clock: Clock) -> Make:
    settings = UpstreamSettings(
        "http://glance", permission_seconds=SECONDS, permission_entries_max=ENTRIES_MAX
    )
    return lambda: Permissions(glance, settings, clock)


@pytest.fixture
async def permissions(make: Make) -> AsyncIterator[Permissions]:
    made = make()
    yield made
    await made.close()
    assert "0 being asked" in repr(made)
    assert {key for keys in made._images.values() for key in keys} == set(made._beliefs)
    assert all(made._images.values())
    assert not made._questions


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_yes_is_believed(permissions: Permissions, glance: Glance) -> None:
    assert await permissions.allowed("i", ALICE)
    assert await permissions.allowed("i", ALICE)
    assert glance.asked == [("i", ALICE)]


@pytest.mark.parametrize("status", [None, 204, 206, 300, 400, 401, 403, 404, 500, 503])
async def test_a_no_is_asked_again(
    permissions: Permissions, glance: Glance, status: int | None
) -> None:
    glance.status = status
    assert not await permissions.allowed("i", ALICE)
    glance.status = 416
    assert await permissions.allowed("i", ALICE)
    assert len(glance.asked) == 2


async def test_a_yes_of_an_upstream_without_ranges_is_not_believed(
    permissions: Permissions, glance: Glance
) -> None:
    glance.status = 200
    assert await permissions.allowed("i", ALICE)
    assert await permissions.allowed("i", ALICE)
    assert len(glance.asked) == 2


async def test_a_belief_ends_counted_from_the_asking(
    permissions: Permissions, glance: Glance, clock: Clock
) -> None:
    glance.open.clear()
    first = asyncio.create_task(permissions.allowed("i", ALICE))
    await turns()
    clock.now += SECONDS - 1
    glance.open.set()
    assert await first
    assert await permissions.allowed("i", ALICE)
    assert len(glance.asked) == 1
    clock.now += 1
    glance.status = 403
    assert not await permissions.allowed("i", ALICE)
    assert len(glance.asked) == 2
    assert "0 believed" in repr(permissions)


@pytest.mark.parametrize(
    "other",
    [
        ("j", ALICE),
        ("i", BOB),
        ("i", []),
        ("i", [*ALICE, ("X-Service-Token", "s")]),
        ("i", [*ALICE, *ALICE]),
        ("i", [*ALICE, *BOB]),
        ("i", [*ALICE, ("X-Forwarded-For", "192.0.2.1")]),
        ("i", [*ALICE, ("Cookie", "a=b")]),
        ("i", [*ALICE, ("Never-Heard-Of", "")]),
        ("i", [("X-Auth-Tokenalice", "")]),
        ("i", [*ALICE, ("Connection", "X-Auth-Token")]),
        ("i", [("X-Auth-Token", "alice\udcff")]),
    ],
)
async def test_a_belief_belongs_to_one_image_and_one_caller(
    permissions: Permissions, glance: Glance, other: tuple[str, list[tuple[str, str]]]
) -> None:
    assert await permissions.allowed("i", ALICE)
    glance.status = 403
    assert not await permissions.allowed(*other)


async def test_the_order_of_repeated_fields_matters(
    permissions: Permissions, glance: Glance
) -> None:
    assert await permissions.allowed("i", [*ALICE, *BOB])
    glance.status = 403
    assert not await permissions.allowed("i", [*BOB, *ALICE])


@pytest.mark.parametrize(
    "same",
    [
        [("x-auth-TOKEN", "alice")],
        *([*ALICE, (name.upper(), "anything")] for name in sorted(HARMLESS)),
        [("Range", "bytes=0-1"), *ALICE, ("If-Range", "x"), ("Accept-Encoding", "gzip")],
        [("Host", "elsewhere"), ("Connection", "close"), *ALICE],
    ],
)
async def test_what_the_question_does_not_carry_does_not_matter(
    permissions: Permissions, glance: Glance, same: list[tuple[str, str]]
) -> None:
    assert await permissions.allowed("i", ALICE)
    assert await permissions.allowed("i", same)
    assert len(glance.asked) == 1


async def test_the_upstream_and_the_process_are_part_of_the_key(glance: Glance) -> None:
    urls = ["http://one", "http://two", "http://one"]
    keys = {Permissions(glance, UpstreamSettings(url))._key("i", ALICE) for url in urls}
    assert len(keys) == 3


async def test_no_token_is_kept(permissions: Permissions) -> None:
    await permissions.allowed("i", ALICE)
    assert "alice" not in repr(vars(permissions))


@pytest.mark.parametrize("status", [416, 200, 403, None])
async def test_equal_questions_at_once_are_one(
    permissions: Permissions, glance: Glance, status: int | None
) -> None:
    glance.status = status
    glance.open.clear()
    waiting = [asyncio.create_task(permissions.allowed("i", ALICE)) for _ in range(5)]
    other = asyncio.create_task(permissions.allowed("i", BOB))
    await turns()
    assert [image for image, _ in glance.asked] == ["i", "i"]
    glance.open.set()
    assert await asyncio.gather(*waiting, other) == [status in (416, 200)] * 6


async def test_one_who_leaves_does_not_end_the_question_of_the_others(
    permissions: Permissions, glance: Glance
) -> None:
    glance.open.clear()
    first, second = (asyncio.create_task(permissions.allowed("i", ALICE)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    glance.open.set()
    assert await second
    assert len(glance.asked) == 1


async def test_after_a_purge_it_is_asked_again(permissions: Permissions, glance: Glance) -> None:
    assert await permissions.allowed("i", ALICE)
    assert await permissions.allowed("i", BOB)
    assert await permissions.allowed("j", ALICE)
    permissions.purge("i")
    permissions.purge("unknown")
    glance.status = 403
    assert not await permissions.allowed("i", ALICE)
    assert not await permissions.allowed("i", BOB)
    assert await permissions.allowed("j", ALICE)
    permissions.purge(None)
    assert not await permissions.allowed("j", ALICE)


@pytest.mark.parametrize("purged", ["i", None])
async def test_a_question_from_before_a_purge_is_neither_stored_nor_joined(
    permissions: Permissions, glance: Glance, purged: str | None
) -> None:
    glance.open.clear()
    before = asyncio.create_task(permissions.allowed("i", ALICE))
    await turns()
    permissions.purge(purged)
    glance.status = 403
    after = asyncio.create_task(permissions.allowed("i", ALICE))
    await turns()
    assert len(glance.asked) == 2
    glance.open.set()
    assert await before  # it was asked before the change
    assert not await after
    assert not await permissions.allowed("i", ALICE)
    assert "0 believed" in repr(permissions)


async def test_a_purge_of_another_image_leaves_a_question_alone(
    permissions: Permissions, glance: Glance
) -> None:
    glance.open.clear()
    asking = asyncio.create_task(permissions.allowed("i", ALICE))
    await turns()
    permissions.purge("j")
    glance.open.set()
    assert await asking
    assert await permissions.allowed("i", ALICE)
    assert len(glance.asked) == 1


async def test_the_longest_unused_belief_makes_room(
    permissions: Permissions, glance: Glance
) -> None:
    for number in range(ENTRIES_MAX):
        await permissions.allowed(str(number), ALICE)
    await permissions.allowed("0", ALICE)  # used again
    await permissions.allowed("new", ALICE)
    assert f"{ENTRIES_MAX} believed" in repr(permissions)
    del glance.asked[:]
    for image in ("0", "2", "3", "new"):
        await permissions.allowed(image, ALICE)
    assert not glance.asked
    await permissions.allowed("1", ALICE)
    assert len(glance.asked) == 1


async def test_a_broken_question_is_told_to_all_who_wait_and_forgotten(
    permissions: Permissions, glance: Glance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(image_id: str, headers: Headers) -> int | None:
        await asyncio.sleep(0)
        raise RuntimeError(image_id, len(headers))

    with monkeypatch.context() as patch:
        patch.setattr(glance, "may_download", broken)
        waiting = [asyncio.create_task(permissions.allowed("i", ALICE)) for _ in range(2)]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [RuntimeError, RuntimeError]
    assert await permissions.allowed("i", ALICE)


async def test_closing_ends_questions_and_those_who_wait(make: Make, glance: Glance) -> None:
    permissions = make()
    glance.open.clear()
    waiting = asyncio.create_task(permissions.allowed("i", ALICE))
    await turns()
    await permissions.close()
    await turns()
    assert waiting.cancelled()
    assert repr(permissions) == "Permissions(0 believed, 0 being asked)"
