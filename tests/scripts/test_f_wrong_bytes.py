"""An upstream that sends wrong bytes: caught, reset, forgotten; and a client that resumes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.images import random_bytes
from harness.story import CHUNK, Story, figure, story

SIZE = 3 * CHUNK + 99
DATA = random_bytes(SIZE, seed=6)
ORIGINS: dict[str, dict[str, Any]] = {
    "ranges": {"ranges": "yes"},
    "no ranges": {"ranges": "refused"},
    "ranges ignored": {"ranges": "ignored"},
    "no length": {"ranges": "refused", "framing": "chunked"},
    "no end": {"ranges": "ignored", "framing": "close"},
}
LIES: dict[str, dict[str, Any]] = {
    "a wrong byte in the first chunk": {"wrong_at": 0},
    "a wrong byte in the middle": {"wrong_at": 2 * CHUNK - 1},
    "a wrong last byte": {"wrong_at": SIZE - 1},
    "a byte too many": {"surplus": 1},
    "a byte too few": {"surplus": -1},
}
RESUMES = {
    "the whole": 0,
    "a resume": CHUNK + 5,
    "a resume of all but what was withheld": 3 * CHUNK,
}


async def nothing_is_kept(told: Story, empty: dict[str, float], mismatches: int) -> None:
    samples = await told.idle()
    await told.shrunk(empty)
    assert told.chunk_files() == 0
    assert figure(samples, "fill_duration_seconds_count", result="mismatch") == mismatches
    assert figure(samples, "fill_duration_seconds_count", result="ok") == 0


@pytest.mark.parametrize("kind", ORIGINS)
async def test_every_lie_is_caught_and_the_next_request_heals(tmp_path: Path, kind: str) -> None:
    async with story(tmp_path) as told:
        # Without a promised end too few bytes are a cut, which is none of these: see test_p.
        lies = [lie for lie in LIES.values() if kind != "no end" or lie.get("surplus") != -1]
        images = [told.glance.add(DATA, **ORIGINS[kind], **lie) for lie in lies]
        empty = await told.idle()
        for mismatches, image in enumerate(images, 1):
            caught = told.ask(image.id)
            assert await caught.ended() == "reset"
            assert len(caught.data) <= 3 * CHUNK  # never the last chunk
            assert "etag" not in caught.headers
            await nothing_is_kept(told, empty, mismatches)
        assert await told.ended("error") == len(lies)

        for image in images:
            image.wrong_at, image.surplus = None, 0
            assert await told.ask(image.id).body() == DATA
            await told.idle()
            assert told.chunk_files() == 4
            again = told.ask(image.id, "bytes=5-")
            assert await again.body() == DATA[5:]
            assert again.headers["etag"] == f'"{image.id}"'


@pytest.mark.parametrize("kind", ORIGINS)
async def test_all_who_might_take_it_for_the_end_are_reset(tmp_path: Path, kind: str) -> None:
    async with story(tmp_path, workers=3) as told:
        image = told.glance.add(DATA, wrong_at=SIZE - 1, **ORIGINS[kind])
        empty = await told.idle()
        hold = image.hold_at(SIZE - 1)
        readers = [(told.ask(image.id, f"bytes={start}-"), start) for start in RESUMES.values()]
        await told.counted("flights_joined_total", len(readers) - 1)
        hold.release.set()
        for reader, start in readers:
            assert await reader.ended() == "reset"
            assert len(reader.data) <= 3 * CHUNK - start
        await nothing_is_kept(told, empty, 1)


async def test_after_three_lies_the_image_passes_unverified_and_uncached(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA, wrong_at=7)
        for _ in range(3):
            assert await told.ask(image.id).ended() == "reset"
            await told.idle()
        given = await told.ask(image.id).body()
        assert given == image.bytes_at(0, SIZE)  # Glance's own bytes, as a client without us gets
        assert await told.ended("bypass") == 1
        await told.idle()
        assert told.chunk_files() == 0


# curl, resuming after such a reset


async def curl(told: Story, image_id: str, *options: str | Path) -> tuple[int, str]:
    """Run curl on an image's data; return its exit code and the status that it saw."""
    url = f"{told.node.url}/v2/images/{image_id}/file"
    told.ask.asked += 1
    process = await asyncio.create_subprocess_exec(
        *("curl", "-s", "-w", "%{http_code}", *options, url), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


PARTIAL_FILE, CANNOT_RESUME, RECEIVE_ERROR = 18, 33, 56  # what curl exits with


@pytest.mark.parametrize("present", [None, CHUNK, 3 * CHUNK])
async def test_curl_resumes_without_if_range(tmp_path: Path, present: int | None) -> None:
    """While the upstream lies on, a resume is caught like the download that it continues.

    The longest part that a reset leaves ends where the last chunk begins.
    """
    async with story(tmp_path / "node") as told:
        image = told.glance.add(DATA, wrong_at=CHUNK + 3)
        part = tmp_path / "part"
        code, _ = await curl(told, image.id, "-o", part)
        assert code in (PARTIAL_FILE, RECEIVE_ERROR)
        assert part.stat().st_size <= 3 * CHUNK
        if present is not None:
            part.write_bytes(image.bytes_at(0, present))
        await told.idle()
        code, _ = await curl(told, image.id, "-C", "-", "-o", part)
        assert code in (PARTIAL_FILE, RECEIVE_ERROR)
        assert part.stat().st_size <= 3 * CHUNK
        await told.idle()
        assert told.chunk_files() == 0


@pytest.mark.parametrize("healed", [False, True])
@pytest.mark.parametrize(
    "told_before", ['"tag"', "Wed, 21 Oct 2026 07:28:00 GMT", "the id", 'W/"the id"']
)
async def test_curl_resumes_with_if_range(tmp_path: Path, told_before: str, healed: bool) -> None:
    """The broken answer named no tag, so that no `If-Range` can match before the proof."""
    async with story(tmp_path / "node") as told:
        image = told.glance.add(DATA, wrong_at=CHUNK + 3)
        part, head = tmp_path / "part", tmp_path / "head"
        code, _ = await curl(told, image.id, "-D", head, "-o", part)
        assert code in (PARTIAL_FILE, RECEIVE_ERROR)
        for name in ("etag", "last-modified"):
            assert f"\n{name}:" not in head.read_text().lower()
        await told.idle()
        if healed:
            image.wrong_at = None
        value = told_before.replace("the id", image.id)
        asked = ("-C", "-", "-o", part, "-H", f"If-Range: {value}")
        part.write_bytes(part.read_bytes() or b"x")
        before = part.read_bytes()
        code, status = await curl(told, image.id, *asked)
        # 200 from the start, which curl refuses to join to what it has.
        assert (code, status) == (CANNOT_RESUME, "200")
        assert part.read_bytes() == before
        await told.idle()


async def test_the_tag_of_a_proven_image_resumes(tmp_path: Path) -> None:
    async with story(tmp_path / "node") as told:
        image = told.glance.add(DATA)
        assert await told.ask(image.id).body() == DATA
        await told.idle()
        part = tmp_path / "part"
        part.write_bytes(DATA[:1000])
        asked = ("-C", "-", "-o", part, "-H", f'If-Range: "{image.id}"')
        assert await curl(told, image.id, *asked) == (0, "206")
        assert part.read_bytes() == DATA
