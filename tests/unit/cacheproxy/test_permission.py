"""Who may download: asked once, believed briefly, forgotten on a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from cacheproxy import permission as module
from cacheproxy.config import UpstreamSettings
from cacheproxy.core.judgement import Verdict
from cacheproxy.headers import Headers
from cacheproxy.meter import Board
from cacheproxy.metrics import RECENTLY_ALLOWED
from cacheproxy.permission import HARMLESS, Permissions

ALICE = [("X-Auth-Token", "alice")]
BOB = [("X-Auth-Token", "bob")]
SECONDS = 10.0
WINDOW = 60.0
ENTRIES_MAX = 4
NOES = [Verdict.REFUSED, Verdict.SILENT, Verdict.UNCLEAR, Verdict.FOREIGN]


class Glance:
    """Answers with what the test says, when the test says it."""

    def __init__(self) -> None:
        self.verdict = Verdict.ALLOWED
        self.asked: list[tuple[str, Headers]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def may_download(self, image_id: str, headers: Headers, query: str = "") -> Verdict:
        self.asked.append((image_id + query, headers))
        verdict = self.verdict
        await self.open.wait()
        return verdict


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
def board() -> Board:
    return Board.create(1)


@pytest.fixture
def make(glance: Glance, clock: Clock, board: Board) -> Make:
    settings = UpstreamSettings(
        "http://glance", permission_seconds=SECONDS, permission_entries_max=ENTRIES_MAX
    )
    return lambda: Permissions(glance, settings, board.meter(0), clock)


@pytest.fixture
async def permissions(make: Make) -> AsyncIterator[Permissions]:
    made = make()
    yield made
    await closed(made)


@pytest.fixture
async def lenient(glance: Glance, clock: Clock, board: Board) -> AsyncIterator[Permissions]:
    """Serve whoever was allowed recently while the upstream is silent."""
    settings = UpstreamSettings(
        "http://glance",
        permission_seconds=SECONDS,
        permission_entries_max=ENTRIES_MAX,
        on_upstream_failure="serve-recently-allowed",
        recently_allowed_seconds=WINDOW,
    )
    made = Permissions(glance, settings, board.meter(0), clock)
    yield made
    await closed(made)


async def closed(made: Permissions) -> None:
    await made.close()
    assert "0 being asked" in repr(made)
    assert not made._questions


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_yes_is_believed(permissions: Permissions, glance: Glance) -> None:
    assert await permissions.allowed("i", ALICE)
    assert await permissions.allowed("i", ALICE)
    assert glance.asked == [("i", ALICE)]


@pytest.mark.parametrize("verdict", NOES)
async def test_a_no_is_asked_again(
    permissions: Permissions, glance: Glance, verdict: Verdict
) -> None:
    glance.verdict = verdict
    assert not await permissions.allowed("i", ALICE)
    glance.verdict = Verdict.ALLOWED
    assert await permissions.allowed("i", ALICE)
    assert len(glance.asked) == 2


async def test_a_yes_of_an_upstream_without_ranges_is_not_believed(
    permissions: Permissions, glance: Glance
) -> None:
    glance.verdict = Verdict.ALLOWED_ONCE
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
    glance.verdict = Verdict.REFUSED
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
    glance.verdict = Verdict.REFUSED
    assert not await permissions.allowed(*other)


async def test_the_order_of_repeated_fields_matters(
    permissions: Permissions, glance: Glance
) -> None:
    assert await permissions.allowed("i", [*ALICE, *BOB])
    glance.verdict = Verdict.REFUSED
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


async def test_the_upstream_and_the_process_are_part_of_the_key(
    glance: Glance, board: Board
) -> None:
    urls = ["http://one", "http://two", "http://one"]
    meter = board.meter(0)
    keys = {Permissions(glance, UpstreamSettings(url), meter).key("i", ALICE) for url in urls}
    assert len(keys) == 3


async def test_no_token_is_kept(permissions: Permissions) -> None:
    await permissions.allowed("i", ALICE)
    assert "alice" not in repr(vars(permissions))


@pytest.mark.parametrize("verdict", Verdict)
async def test_equal_questions_at_once_are_one(
    permissions: Permissions, glance: Glance, verdict: Verdict
) -> None:
    glance.verdict = verdict
    glance.open.clear()
    waiting = [asyncio.create_task(permissions.allowed("i", ALICE)) for _ in range(5)]
    other = asyncio.create_task(permissions.allowed("i", BOB))
    await turns()
    assert [image for image, _ in glance.asked] == ["i", "i"]
    glance.open.set()
    assert await asyncio.gather(*waiting, other) == [verdict not in NOES] * 6


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
    glance.verdict = Verdict.REFUSED
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
    glance.verdict = Verdict.REFUSED
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
    async def broken(image_id: str, headers: Headers, query: str) -> Verdict:
        await asyncio.sleep(0)
        raise RuntimeError(image_id, len(headers), query)

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


# The upstream is silent.


async def recently(lenient: Permissions, glance: Glance, clock: Clock) -> None:
    """Be allowed, and then live to see the upstream fall silent."""
    assert await lenient.allowed("i", ALICE)
    clock.now += SECONDS
    glance.verdict = Verdict.SILENT


async def test_who_was_allowed_recently_goes_on_within_the_window(
    lenient: Permissions, glance: Glance, clock: Clock, board: Board
) -> None:
    await recently(lenient, glance, clock)
    assert await lenient.allowed("i", ALICE)
    assert await lenient.allowed("i", ALICE)  # the upstream is not asked again at once
    assert len(glance.asked) == 2
    assert board.total(RECENTLY_ALLOWED) == 1
    for stranger in (BOB, [], [*ALICE, *BOB]):
        assert not await lenient.allowed("i", stranger)
    assert not await lenient.allowed("j", ALICE)
    clock.now += WINDOW - SECONDS - 1
    assert await lenient.allowed("i", ALICE)
    clock.now += 1  # counted from the upstream's own word
    assert not await lenient.allowed("i", ALICE)
    assert "0 believed" in repr(lenient)


async def test_by_default_nobody_goes_on(
    permissions: Permissions, glance: Glance, clock: Clock, board: Board
) -> None:
    await recently(permissions, glance, clock)
    assert not await permissions.allowed("i", ALICE)
    assert board.total(RECENTLY_ALLOWED) == 0


async def test_a_refusal_ends_it_at_once(
    lenient: Permissions, glance: Glance, clock: Clock
) -> None:
    await recently(lenient, glance, clock)
    assert await lenient.allowed("i", ALICE)
    clock.now += SECONDS
    glance.verdict = Verdict.REFUSED
    assert not await lenient.allowed("i", ALICE)
    glance.verdict = Verdict.SILENT
    assert not await lenient.allowed("i", ALICE)


async def test_a_refusal_counts_for_a_token_whatever_was_sent_with_it(
    lenient: Permissions, glance: Glance, clock: Clock
) -> None:
    other = [*ALICE, ("User-Agent", "another")]
    assert await lenient.allowed("i", other)
    assert await lenient.allowed("i", BOB)
    await recently(lenient, glance, clock)
    glance.verdict = Verdict.REFUSED
    assert not await lenient.allowed("i", ALICE)
    glance.verdict = Verdict.SILENT
    assert not await lenient.allowed("i", other)
    assert await lenient.allowed("i", BOB)


@pytest.mark.parametrize("verdict", [Verdict.UNCLEAR, Verdict.FOREIGN])
async def test_an_unclear_answer_is_no_silence(
    lenient: Permissions, glance: Glance, clock: Clock, verdict: Verdict
) -> None:
    await recently(lenient, glance, clock)
    glance.verdict = verdict
    assert not await lenient.allowed("i", ALICE)


@pytest.mark.parametrize("purged", ["i", None])
async def test_a_purge_ends_it_at_once(
    lenient: Permissions, glance: Glance, clock: Clock, purged: str | None
) -> None:
    await recently(lenient, glance, clock)
    glance.open.clear()
    asking = asyncio.create_task(lenient.allowed("i", ALICE))
    await turns()
    lenient.purge(purged)
    glance.open.set()
    assert not await asking
    assert not await lenient.allowed("i", ALICE)
    assert "0 believed" in repr(lenient)


async def test_nobody_who_was_allowed_recently_waits_long(
    lenient: Permissions, glance: Glance, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await recently(lenient, glance, clock)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    glance.open.clear()
    assert await lenient.allowed("i", ALICE)
    assert await lenient.allowed("i", ALICE)
    clock.now += SECONDS
    assert await lenient.allowed("i", ALICE)  # the same question
    assert len(glance.asked) == 2
    unknown = asyncio.create_task(lenient.allowed("i", BOB))
    await turns()
    assert not unknown.done()
    clock.now += WINDOW
    late = asyncio.create_task(lenient.allowed("i", ALICE))
    await turns()
    assert not late.done()
    glance.open.set()
    assert not await unknown
    assert not await late


async def test_the_answer_that_was_not_waited_for_counts(
    lenient: Permissions, glance: Glance, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await recently(lenient, glance, clock)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    glance.verdict = Verdict.REFUSED
    glance.open.clear()
    assert await lenient.allowed("i", ALICE)
    glance.open.set()
    await turns()
    glance.verdict = Verdict.SILENT
    assert not await lenient.allowed("i", ALICE)


BOTH = [*ALICE, ("X-Service-Token", "s")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (BOTH, BOTH[::-1]),
        *(
            [
                [*ALICE, ("Connection", "X-Service-Token"), ("X-Service-Token", value)]
                for value in ("one", "two")
            ],
        ),
    ],
)
async def test_a_change_is_not_outlived_by_who_sends_the_same_tokens_differently(
    lenient: Permissions,
    glance: Glance,
    clock: Clock,
    first: list[tuple[str, str]],
    second: list[tuple[str, str]],
) -> None:
    assert await lenient.allowed("i", BOB)
    assert await lenient.allowed("i", first)
    clock.now += SECONDS
    assert await lenient.allowed("i", second)
    assert len(glance.asked) == 3
    lenient.purge("i")
    assert "0 believed" in repr(lenient)
    glance.verdict = Verdict.SILENT
    for headers in (BOB, first, second):
        assert not await lenient.allowed("i", headers)


async def test_a_refusal_ends_what_the_same_tokens_were_allowed_in_another_order(
    permissions: Permissions, glance: Glance
) -> None:
    assert await permissions.allowed("i", BOTH)
    glance.verdict = Verdict.REFUSED
    assert not await permissions.allowed("i", [*BOTH[::-1], ("User-Agent", "another")])
    assert "0 believed" in repr(permissions)


async def test_a_query_is_another_question(permissions: Permissions, glance: Glance) -> None:
    assert await permissions.allowed("a", ALICE)
    assert await permissions.allowed("a", ALICE, "prefer=x")
    assert await permissions.allowed("a", ALICE, "prefer=y")
    assert [image for image, _ in glance.asked] == ["a", "aprefer=x", "aprefer=y"]
    for query in ("", "prefer=x", "prefer=y"):
        assert await permissions.allowed("a", ALICE, query)
    assert len(glance.asked) == 3
