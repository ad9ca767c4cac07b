"""Credentials that end in the middle of a fill: who goes on, from where, and what is left behind."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cacheproxy.account import Account, Token
from cacheproxy.config import ServiceUserSettings
from cacheproxy.errors import AccountError, RightLostError
from harness.fill_case import CHUNK, Case, started
from harness.origin import Origin, OriginImage
from harness.waiting import until_async

SIZE = 4 * CHUNK + 1000
DATA = random.Random(7).randbytes(SIZE)
CUT = 2 * CHUNK + 77
SETTINGS = ServiceUserSettings(auth_url="http://keystone", username="proxy", password="p")


@dataclass
class Keystone:
    """Gives the proxy its tokens, the first one first."""

    tokens: list[str] = field(default_factory=lambda: ["own"])
    logins: int = 0

    def log_in(self, _: ServiceUserSettings) -> Token:
        self.logins += 1
        if not self.tokens:
            raise AccountError("no token")
        return Token(self.tokens.pop(0), datetime.now(UTC) + timedelta(hours=1))


@pytest.fixture
def keystone() -> Keystone:
    return Keystone()


@pytest.fixture
async def served(glance: Origin, keystone: Keystone, tmp_path: Path) -> AsyncIterator[Case]:
    """A cache that has an account of its own."""
    account = Account(SETTINGS, keystone.log_in)
    async with started(glance, tmp_path / "cache", account=account) as running:
        yield running
    await account.close()


def asked(case: Case, image: OriginImage) -> list[tuple[str | None, str | None]]:
    """Return the token and the range of each request for an image's data."""
    return [
        (head.one("x-auth-token"), head.one("range"))
        for head in case.origin.raw.requests
        if head.target == f"/v2/images/{image.id}/file"
    ]


def rest(position: int) -> str:
    return f"bytes={position}-{SIZE - 1}"


def expire(image: OriginImage, *left: str) -> None:
    """From now on only these tokens are good; and the transfer in progress is cut."""
    image.tokens = set(left)
    image.cuts.append(CUT)


@pytest.mark.parametrize("refusal", [401, 403, 404])
async def test_another_reader_goes_on_at_the_byte(case: Case, refusal: int) -> None:
    image = case.origin.add(DATA, refusal=refusal)
    hold = image.hold_at(CHUNK)
    first = case.read(image, token="first")
    await hold.reached.wait()
    second = case.read(image, CHUNK, SIZE, token="second")
    await until_async("both", lambda: case.flights.in_progress()[0].readers == 2)
    expire(image, "second")
    hold.release.set()
    # The one whose token is no good any more began when it was, as a download from Glance does.
    assert await first.task == DATA
    assert await second.task == DATA[CHUNK:]
    await case.idle()
    requests = asked(case, image)
    assert requests[0] == ("first", rest(0))
    # Whoever waits is preferred, the latest first: here the one who has the right.
    assert requests[1:] == [("second", rest(CUT))]
    assert image.sent_bytes == SIZE


async def test_who_has_left_lends_his_right_after_those_who_wait(case: Case) -> None:
    image = case.origin.add(DATA)
    hold = image.hold_at(CHUNK)
    first = case.read(image, token="waits")
    await hold.reached.wait()
    left = case.read(image, 3 * CHUNK, SIZE, token="left")
    await until_async("both", lambda: case.flights.in_progress()[0].readers == 2)
    left.task.cancel()
    await asyncio.wait([left.task])
    expire(image, "left")
    hold.release.set()
    assert await first.task == DATA
    await case.idle()
    assert [token for token, _ in asked(case, image)] == ["waits", "waits", "left"]
    assert asked(case, image)[2] == ("left", rest(CUT))  # the refusal lost nothing
    assert image.sent_bytes == SIZE


@pytest.mark.parametrize("ranges", ["yes", "refused"])
async def test_the_proxys_own_account_goes_on(
    served: Case, keystone: Keystone, ranges: str
) -> None:
    image = served.origin.add(DATA, ranges=ranges)
    hold = image.hold_at(CHUNK)
    reading = served.read(image, token="reader")
    await hold.reached.wait()
    assert keystone.logins == 0  # while a reader's right will do
    expire(image, "own")
    hold.release.set()
    assert await reading.task == DATA
    await served.idle()
    assert served.flights.contents.describe(image.id) is not None
    again = rest(CUT) if ranges == "yes" else None
    assert asked(served, image)[-2:] == [("reader", again), ("own", again)]
    assert image.sent_bytes == SIZE if ranges == "yes" else SIZE + CUT
    assert keystone.logins == 1


async def test_a_token_of_the_account_that_was_revoked_is_replaced(
    served: Case, keystone: Keystone
) -> None:
    keystone.tokens = ["revoked", "fresh"]
    image = served.origin.add(DATA)
    hold = image.hold_at(CHUNK)
    reading = served.read(image, token="reader")
    await hold.reached.wait()
    image.refusal = 401
    expire(image, "fresh")
    hold.release.set()
    assert await reading.task == DATA
    await served.idle()
    assert [token for token, _ in asked(served, image)][-2:] == ["revoked", "fresh"]
    assert image.sent_bytes == SIZE


async def test_where_nobody_is_left_the_readers_end_and_what_came_stays(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    image = case.origin.add(DATA)
    hold = image.hold_at(CHUNK)
    reading = case.read(image, token="reader")
    await hold.reached.wait()
    expire(image)
    hold.release.set()
    with pytest.raises(RightLostError):
        await reading.task
    assert reading.data == DATA[: len(reading.fetched) * CHUNK]
    await case.idle()
    assert case.chunk_files() == 2
    assert case.flights.contents.describe(image.id) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    # The next one who may, goes on where it stopped, at the chunk.
    image.tokens = {"next"}
    assert await case.read(image, token="next").task == DATA
    await case.idle()
    assert asked(case, image)[-1] == ("next", rest(2 * CHUNK))


async def test_a_download_that_was_left_stays_half_done_without_noise(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    image = case.origin.add(DATA)
    hold = image.hold_at(CHUNK)
    reading = case.read(image, token="reader")
    await hold.reached.wait()
    reading.task.cancel()
    await asyncio.wait([reading.task])
    expire(image)
    hold.release.set()
    with caplog.at_level(logging.INFO):
        await case.idle()
    assert case.chunk_files() == 2
    assert all(record.levelno == logging.INFO for record in caplog.records)
    assert not any("reader" in record.getMessage() for record in caplog.records)


async def test_a_download_that_was_left_is_completed_by_the_account(served: Case) -> None:
    image = served.origin.add(DATA)
    hold = image.hold_at(CHUNK)
    reading = served.read(image, token="reader")
    await hold.reached.wait()
    reading.task.cancel()
    await asyncio.wait([reading.task])
    expire(image, "own")
    hold.release.set()
    await served.idle()
    assert served.flights.contents.describe(image.id) is not None
    assert image.sent_bytes == SIZE


async def test_a_keystone_that_is_away_is_like_no_account(served: Case, keystone: Keystone) -> None:
    keystone.tokens.clear()
    image = served.origin.add(DATA)
    hold = image.hold_at(CHUNK)
    reading = served.read(image, token="reader")
    await hold.reached.wait()
    expire(image)
    hold.release.set()
    with pytest.raises(RightLostError, match="no token"):
        await reading.task
    await served.idle()
    assert served.chunk_files() == 2


async def test_reads_that_have_begun_go_on_when_nobody_may_begin_another(
    glance: Origin, tmp_path: Path
) -> None:
    """As a download does whose token expires: the upstream asks at the beginning only."""
    most = 2 * CHUNK
    async with started(
        glance, tmp_path / "cache", fill_read_bytes_max=most, fill_streams_max=2
    ) as case:
        image = glance.add(DATA)
        hold = image.hold_at(most - 1)
        reading = case.read(image, 0, 2 * CHUNK, token="reader")
        tail = case.read(image, SIZE - 10, SIZE, token="reader")
        assert await tail.task == DATA[-10:]  # by a read of its own, beside the one that waits
        await hold.reached.wait()
        image.tokens = set()
        refused = case.read(image, 3 * CHUNK, 4 * CHUNK, token="reader")
        await until_async("the refusal", lambda: len(asked(case, image)) == 3)
        hold.release.set()
        assert await reading.task == DATA[: 2 * CHUNK]
        with pytest.raises(RightLostError):
            await refused.task
        await case.idle()


async def test_each_image_is_asked_for_with_the_tokens_of_its_own_readers(case: Case) -> None:
    """Two images with one published manifest share one fill, but no reader's right."""
    first, second = case.origin.add(DATA, tokens={"a"}), case.origin.add(DATA, tokens={"b"})
    for image in (first, second):
        image.publish(CHUNK)
    hold = first.hold_at(CUT)
    reading = case.read(first, token="a")
    await hold.reached.wait()
    joined = case.read(second, token="b")
    await joined.first.wait()
    first.tokens = set()
    first.cuts.append(CUT)
    hold.release.set()
    assert await reading.task == await joined.task == DATA
    await case.idle()
    assert {token for token, _ in asked(case, first)} == {"a"}
    assert {token for token, _ in asked(case, second)} == {"b"}
    assert asked(case, second) == [("b", rest(CUT))]
    assert first.sent_bytes + second.sent_bytes == SIZE


async def test_pages_of_a_manifest_come_with_the_accounts_right(served: Case) -> None:
    image = served.origin.add(DATA)
    given = image.publish(CHUNK)
    assert (await served.admit(image)).proven  # the root alone has come
    given.refused.add("reader")
    assert await served.read(image, token="reader").task == DATA
    await served.idle()
    pages = [h.one("x-auth-token") for h in served.origin.raw.requests if "?page=" in h.target]
    assert pages == ["reader", "own"]
