"""Which question an upstream is asked, and what it is taken for."""

from __future__ import annotations

import logging

import pytest

from cacheproxy.asking import RIGHT_RETRY_SECONDS, Asking
from cacheproxy.core.judgement import Verdict, Word
from cacheproxy.headers import Headers

GLANCES_OWN: Headers = [("x-openstack-request-id", "req-1")]
OF_A_CACHE: Headers = [*GLANCES_OWN, ("Content-Range", "bytes */5")]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Glance:
    """A stock Glance: it does not know the right."""

    fields = GLANCES_OWN
    right = 404

    def __init__(self) -> None:
        self.refusal: int | None = None
        self.asked: list[str] = []

    async def may_download(self, image_id: str, headers: Headers, query: str = "") -> Word | None:
        return self._answer("range", image_id, headers, 416, query)

    async def download_right(self, image_id: str, headers: Headers, query: str = "") -> Word | None:
        return self._answer("right", image_id, headers, self.right, query)

    def _answer(
        self, question: str, image_id: str, headers: Headers, yes: int, query: str
    ) -> Word | None:
        assert (image_id, headers) == ("i", [])
        self.asked.append(question + query)
        return Word(404 if yes == 404 else self.refusal or yes, self.fields)


class Catalog(Glance):
    """Ours: it also answers ranges, as a cache would."""

    fields = OF_A_CACHE
    right = 204


class Down(Glance):
    """Nobody."""

    def _answer(self, question: str, *_: object) -> Word | None:
        self.asked.append(question)
        return None


class Behind:
    """An address behind which one of them stands."""

    def __init__(self, upstream: Glance) -> None:
        self.upstream = upstream

    async def may_download(self, image_id: str, headers: Headers, query: str = "") -> Word | None:
        return await self.upstream.may_download(image_id, headers, query)

    async def download_right(self, image_id: str, headers: Headers, query: str = "") -> Word | None:
        return await self.upstream.download_right(image_id, headers, query)


async def ask(asking: Asking) -> Verdict:
    return await asking.may_download("i", [])


async def test_a_glance_is_tried_for_a_catalog_now_and_then() -> None:
    glance, clock = Glance(), Clock()
    asking = Asking(glance, clock)
    assert await ask(asking) is Verdict.ALLOWED
    assert glance.asked == ["right", "range"]
    for refusal in (None, 401, 403, 404):
        glance.refusal = refusal
        del glance.asked[:]
        assert await ask(asking) is (Verdict.REFUSED if refusal else Verdict.ALLOWED)
        assert glance.asked == ["range"]
    clock.now += RIGHT_RETRY_SECONDS
    del glance.asked[:]
    await ask(asking)
    assert glance.asked == ["right", "range"]
    assert repr(asking) == "Asking(a range)"


async def test_a_catalog_is_asked_for_the_right_alone() -> None:
    catalog = Catalog()
    asking = Asking(catalog, Clock())
    for refusal in (None, 401, 403, 500, 503, None):
        catalog.refusal = refusal
        verdict = await ask(asking)
        expected = Verdict.SILENT if refusal in (500, 503) else Verdict.REFUSED
        assert verdict is (expected if refusal else Verdict.ALLOWED)
    assert catalog.asked == ["right"] * 6
    assert repr(asking) == "Asking(the right)"


async def test_a_404_of_a_catalog_is_asked_twice() -> None:
    catalog = Catalog()
    asking = Asking(catalog, Clock())
    await ask(asking)
    catalog.refusal = 404
    for _ in range(2):
        del catalog.asked[:]
        assert await ask(asking) is Verdict.REFUSED
        assert catalog.asked == ["right", "range"]
    assert repr(asking) == "Asking(the right)"


@pytest.mark.parametrize("refusal", [401, 403, 404])
async def test_a_catalog_is_found_by_the_first_who_may(refusal: int) -> None:
    catalog = Catalog()
    asking = Asking(catalog, Clock())
    catalog.refusal = refusal
    assert await ask(asking) is Verdict.REFUSED
    assert await ask(asking) is Verdict.REFUSED
    catalog.refusal = None
    assert await ask(asking) is Verdict.ALLOWED
    assert catalog.asked == ["right", "range", "range", "range", "right"]
    del catalog.asked[:]
    assert await ask(asking) is Verdict.ALLOWED
    assert catalog.asked == ["right"]


async def test_a_glance_that_takes_a_catalogs_place() -> None:
    behind = Behind(Catalog())
    asking = Asking(behind, Clock())
    assert await ask(asking) is Verdict.ALLOWED
    behind.upstream = glance = Glance()
    glance.refusal = 403
    assert await ask(asking) is Verdict.REFUSED  # which says nothing of who it is
    assert repr(asking) == "Asking(the right)"
    glance.refusal = None
    assert await ask(asking) is Verdict.ALLOWED
    assert repr(asking) == "Asking(a range)"
    del glance.asked[:]
    assert await ask(asking) is Verdict.ALLOWED
    assert glance.asked == ["range"]
    behind.upstream = catalog = Catalog()
    assert await ask(asking) is Verdict.ALLOWED
    assert catalog.asked == ["range", "right"]


async def test_silence_changes_nothing() -> None:
    behind = Behind(Catalog())
    asking = Asking(behind, Clock())
    await ask(asking)
    behind.upstream = down = Down()
    assert await ask(asking) is Verdict.SILENT
    assert down.asked == ["right"]
    assert repr(asking) == "Asking(the right)"
    fresh = Asking(behind, Clock())
    assert await ask(fresh) is Verdict.SILENT


async def test_a_cache_in_between_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    glance, clock = Glance(), Clock()
    glance.fields = OF_A_CACHE
    asking = Asking(glance, clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await ask(asking) is Verdict.FOREIGN
    assert len(caplog.records) == 1
    assert repr(asking) == "Asking(a range)"


async def test_a_query_is_asked_along() -> None:
    for upstream, asked in ((Glance(), ["rightq=1", "rangeq=1"]), (Catalog(), ["rightq=1"])):
        assert await Asking(upstream).may_download("i", [], "q=1") is Verdict.ALLOWED
        assert upstream.asked == asked
