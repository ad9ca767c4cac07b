"""Who may not download gets nothing, however warm the image is; and is answered as Glance does."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.images import random_bytes
from harness.story import CHUNK, figure, story

SIZE = 2 * CHUNK + 5
DATA = random_bytes(SIZE, seed=9)
ASK_EVERY_TIME = "[upstream]\npermission_seconds = 0\n"


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("wanted", [None, "bytes=0-0"])
async def test_a_warm_image_is_not_for_everybody(
    tmp_path: Path, workers: int, wanted: str | None
) -> None:
    async with story(tmp_path, workers=workers) as told:
        image = told.glance.add(DATA, tokens={"member"})
        assert await told.ask(image.id, token="member").body() == DATA
        assert await told.ask(image.id, token="member").body() == DATA
        # A reader's role is not enough (403); no token, or none that is known (401).
        for token, status in (("reader", 403), (None, 401)):
            for method in ("GET", "HEAD"):
                refused = told.ask(image.id, wanted, token=token, method=method)
                body = await refused.body()
                # Glance has no HEAD here: what it says to those who may not is not ours to change.
                assert refused.status == (status if method == "GET" else 405)
                assert len(body) < 100
                assert "etag" not in refused.headers
                assert "content-md5" not in refused.headers
        image.refusal = 404  # another project: it does not exist
        hidden = told.ask(image.id, wanted, token="other", headers={"If-None-Match": "*"})
        await hidden.body()
        assert hidden.status == 404
        samples = await told.idle()
        assert figure(samples, "requests_total", result="refused") == 5
        assert figure(samples, "requests_total", result="hit") == 1
        assert image.sent_bytes == SIZE


async def test_a_permission_that_is_withdrawn(tmp_path: Path) -> None:
    async with story(tmp_path, more=ASK_EVERY_TIME) as told:
        image = told.glance.add(DATA, tokens={"member"})
        assert await told.ask(image.id, token="member").body() == DATA
        image.tokens = set()
        refused = told.ask(image.id, token="member")
        await refused.body()
        assert refused.status == 403
        image.tokens = {"member"}
        assert await told.ask(image.id, token="member").body() == DATA
        image.question_status = 403  # deactivated: 403 to the question, and to the request
        image.data_status = 403
        refused = told.ask(image.id, token="member")
        await refused.body()
        assert refused.status == 403
        assert image.sent_bytes == SIZE


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_glance_that_cannot_answer_the_question(tmp_path: Path, status: int) -> None:
    """Fails closed: the client's own request gets the upstream's own answer."""
    async with story(tmp_path, more=ASK_EVERY_TIME) as told:
        image = told.glance.add(DATA)
        assert await told.ask(image.id).body() == DATA
        image.question_status = image.data_status = status
        failed = told.ask(image.id)
        await failed.body()
        assert failed.status == status
        image.data_status = 200  # the data can be had after all: Glance's, uncached
        assert await told.ask(image.id).body() == DATA
        samples = await told.idle()
        assert figure(samples, "requests_total", result="bypass") == 1
        assert figure(samples, "requests_total", result="error") == 1
        assert image.sent_bytes == 2 * SIZE


async def test_a_fill_goes_on_with_who_still_may(tmp_path: Path) -> None:
    """Each reader's own credentials are used, and none but those of readers who may."""
    async with story(tmp_path) as told:
        image = told.glance.add(DATA, tokens={"first", "second"})
        hold = image.hold_at(CHUNK + 9)
        one = told.ask(image.id, token="first")
        await hold.reached.wait()
        two = told.ask(image.id, token="second")
        await told.counted("flights_joined_total", 1)
        image.tokens = {"second"}
        image.cuts.append(CHUNK + 10)  # the next read is refused to the first
        hold.release.set()
        assert await one.body() == await two.body() == DATA
        await told.idle()
        tokens = [
            head.one("x-auth-token")
            for head in told.glance.raw.heads
            if head.target.endswith("/file") and (head.one("range") or "").startswith("bytes=")
        ]
        assert set(tokens) == {"first", "second"}
        assert image.sent_bytes == SIZE
