"""Manifests that are none, forged or refused: the image is learnt, and nobody gets another's bytes."""

from __future__ import annotations

import pytest

from cacheproxy.errors import FillFailedError, ProofFailedError
from cacheproxy.fill import published
from cacheproxy.metrics import MANIFESTS
from harness.fill_case import CHUNK, Case, credential_for, facts_of
from harness.origin import Content, OriginImage
from harness.published_case import DATA, OTHER, SIZE, add

pytestmark = pytest.mark.usefixtures("no_pause")


def forge(image: OriginImage, how: str) -> None:
    """Make a published manifest useless."""
    given = image.publication
    assert given is not None
    match how:
        case "no endpoint":
            image.publication = None
        case "another root":
            given.root = given.root[:-1] + bytes([given.root[-1] ^ 1])
        case "a root that is too long":
            given.root += b"x"
        case "a page of HTML":
            given.root = b"<html>welcome</html>"
        case "of another size":
            image.record["os_manifest"] = (
                OriginImage("", Content.of(DATA[1:]), {}).publish(CHUNK).name
            )
        case "of another image":
            other = OriginImage("", Content.of(DATA[1:]), {}).publish(CHUNK)
            given.root, given.pages = other.root, other.pages
            image.record["os_manifest"] = other.name
        case "no name":
            image.record["os_manifest"] = "yes"
        case "no text":
            image.record["os_manifest"] = ["1", 2]
        case "cut":
            given.cuts["root"] = 9
        case "stalled":
            given.stall("root")
        case status:
            given.status["root"] = int(status)


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("no endpoint", "none"),
        ("404", "none"),
        ("301", "none"),
        ("500", "failed"),
        ("another root", "wrong"),
        ("a root that is too long", "wrong"),
        ("a page of HTML", "wrong"),
        ("of another size", "wrong"),
        ("of another image", "wrong"),
        ("no name", "wrong"),
        ("no text", None),
        ("cut", "failed"),
        ("stalled", "failed"),
    ],
)
async def test_without_a_manifest_the_image_is_learnt(
    case: Case, how: str, result: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "ROOT_SECONDS_MAX", 0.2)
    image = add(case.origin)
    forge(image, how)
    hold = image.hold_at(SIZE - 1)
    part, whole = case.read(image, 0, 10), case.read(image)
    await hold.reached.wait()
    assert not whole.task.done()
    assert not (await case.admit(image)).proven
    hold.release.set()
    assert (await part.task, await whole.task) == (DATA[:10], DATA)
    await case.idle()
    assert image.sent_bytes == SIZE
    # Counted, and not asked again.
    counts = {each: case.board.total(MANIFESTS, (each,)) for each in ("none", "wrong", "failed")}
    assert counts == {each: float(each == result) for each in counts}
    if image.publication is not None:
        assert image.publication.roots_asked <= 1
        assert image.publication.pages_asked == []


async def test_a_forged_name_gives_nobody_anothers_bytes(case: Case) -> None:
    """In front of a stock Glance a user may set any property, and claim any hash with a location."""
    honest = add(case.origin)
    assert await case.read(honest).task == DATA
    await case.idle()
    claims = {name: honest.record[name] for name in honest.record if name.startswith("os_")}
    liar = case.origin.add(OTHER, record=claims)
    assert liar.record["os_manifest"] == honest.record["os_manifest"]
    reading = case.read(liar)
    with pytest.raises(ProofFailedError):
        await reading.task
    assert OTHER.startswith(reading.data)
    await case.idle()
    again = case.read(honest)
    assert await again.task == DATA
    assert not any(again.fetched)


async def test_two_manifests_of_one_content_contradict_each_other(case: Case) -> None:
    honest = add(case.origin)
    assert await case.read(honest).task == DATA
    await case.idle()
    liar = add(case.origin, OTHER, record={"os_hash_value": honest.record["os_hash_value"]})
    assert not (await case.admit(liar)).proven
    assert case.board.total(MANIFESTS, ("wrong",)) == 1
    assert await case.read(honest).task == DATA


async def test_a_refused_reader_does_not_decide_for_others(case: Case) -> None:
    image = add(case.origin)
    assert image.publication is not None
    image.publication.refused.add("bad")
    stall = image.publication.stall("root")
    refused, good = case.read(image, 0, 5, token="bad"), case.read(image, 0, 5, token="good")
    await stall.reached.wait()
    stall.release.set()
    assert await good.task == DATA[:5]
    assert await refused.task == DATA[:5]
    await case.idle()
    assert image.publication.roots_asked == 2
    assert case.board.total(MANIFESTS, ("used",)) == 1


async def test_refused_pages_are_asked_for_with_the_next_credentials(case: Case) -> None:
    image = add(case.origin)
    assert image.publication is not None
    assert await case.flights.adopt(facts_of(image), credential_for(image))
    image.publication.refused.add("bad")
    stall = image.publication.stall("pages")
    refused = case.read(image, 0, 5, token="bad")
    await stall.reached.wait()
    good = case.read(image, 0, 5, token="good")
    stall.release.set()
    assert await good.task == DATA[:5]
    with pytest.raises(FillFailedError):
        await refused.task
    await case.idle()
