"""What was half done when a keeper ended, and the next one has an account of its own."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cacheproxy.account import Account, Token
from cacheproxy.config import ServiceUserSettings
from cacheproxy.errors import AccountError
from cacheproxy.fill.unfinished import Unfinished
from harness.fill_case import CHUNK, Case, started
from harness.origin import Origin, OriginImage

SIZE = 4 * CHUNK + 1000
DATA = random.Random(8).randbytes(SIZE)
OTHER = random.Random(9).randbytes(SIZE)


def logs_in(_: ServiceUserSettings) -> Token:
    return Token("own", datetime.now(UTC) + timedelta(hours=1))


def fails(_: ServiceUserSettings) -> Token:
    raise AccountError("Keystone is away")


def account(log_in: object = logs_in) -> Account:
    url = "http://keystone" if log_in else ""
    return Account(ServiceUserSettings(auth_url=url), log_in or fails)  # type: ignore[arg-type]  # a callable of its shape


async def begin(glance: Origin, directory: Path) -> OriginImage:
    """Bring two chunks of an image in, as its reader, and end."""
    image = glance.add(DATA)
    async with started(glance, directory, complete_in_background=False) as case:
        assert await case.read(image, 0, 2 * CHUNK).task == DATA[: 2 * CHUNK]
        await case.idle()
    image.tokens = {"own"}
    return image


async def complete(case: Case, own: Account) -> None:
    unfinished = Unfinished(case.flights, case.store, case.upstream, own, case.settings)
    await unfinished.run()
    await case.idle()
    await own.close()


async def test_it_is_completed_from_where_it_stopped(glance: Origin, tmp_path: Path) -> None:
    image, own = await begin(glance, tmp_path), account()
    async with started(glance, tmp_path, account=own) as case:
        await complete(case, own)
        assert case.flights.contents.describe(image.id) is not None
        assert image.data_requests[-1] == f"bytes={2 * CHUNK}-{SIZE - 1}"
        assert image.sent_bytes == SIZE
        requests = len(glance.raw.requests)
        await complete(case, account())
        assert len(glance.raw.requests) == requests  # there is nothing left to do


@pytest.mark.parametrize(
    "change",
    [
        {"status": "deactivated"},
        {"created_at": "2026-05-01T00:00:00Z"},  # another image has its id
        {"size": SIZE + 1},
    ],
)
async def test_what_is_not_the_same_active_image_any_more_waits(
    glance: Origin, tmp_path: Path, change: dict[str, object]
) -> None:
    image, own = await begin(glance, tmp_path), account()
    image.record.update(change)
    async with started(glance, tmp_path, account=own) as case:
        await complete(case, own)
        assert case.flights.contents.describe(image.id) is None
    assert image.sent_bytes == 2 * CHUNK


@pytest.mark.parametrize("log_in", [None, fails])
async def test_without_an_account_it_waits_for_a_reader(
    glance: Origin, tmp_path: Path, log_in: object
) -> None:
    image, own = await begin(glance, tmp_path), account(log_in)
    async with started(glance, tmp_path, account=own) as case:
        requests = len(glance.raw.requests)
        await complete(case, own)
        assert len(glance.raw.requests) == requests
        assert image.sent_bytes == 2 * CHUNK


async def test_one_that_fails_holds_no_other_up(glance: Origin, tmp_path: Path) -> None:
    first, second = await begin(glance, tmp_path), await begin(glance, tmp_path)
    first.tokens = {"nobody"}
    own = account()
    async with started(glance, tmp_path, account=own) as case:
        await complete(case, own)
        assert case.flights.contents.describe(first.id) is None
        assert case.flights.contents.describe(second.id) is not None


async def test_it_ends_when_it_is_told_to(glance: Origin, tmp_path: Path) -> None:
    image, own = await begin(glance, tmp_path), account()
    hold = image.hold_at(3 * CHUNK)
    async with started(glance, tmp_path, account=own) as case:
        unfinished = Unfinished(case.flights, case.store, case.upstream, own, case.settings)
        running = asyncio.create_task(unfinished.run())
        await hold.reached.wait()
        running.cancel()
        await asyncio.wait([running])
        assert not case.flights.in_progress()[0].readers
        hold.release.set()
        await case.idle()
    await own.close()
