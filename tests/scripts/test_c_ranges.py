"""Any ranges of any image, cold and warm, against a plain byte string."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.http import Answer, ask
from harness.images import random_bytes
from harness.origin import Content, OriginImage
from harness.story import Story, story

CHUNK = 256 << 10
SMALL_CHUNKS = f"[cache]\nchunk_bytes = {CHUNK}\n"
BASE = random_bytes(4 * CHUNK, seed=8)
GIB = 1 << 30
SPARSE_SIZE = 3 * GIB + 12_345
EXAMPLES = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Wanted:
    """One `Range`."""

    first: int | None
    last: int | None

    def __str__(self) -> str:
        first = "" if self.first is None else self.first
        return f"bytes={first}-{'' if self.last is None else self.last}"

    def part(self, size: int) -> slice | None:
        """Return what a byte string of this size would give; None: nothing."""
        if self.first is None:
            assert self.last is not None
            return slice(max(0, size - self.last), size) if self.last and size else None
        stop = size if self.last is None else min(size, self.last + 1)
        return slice(self.first, stop) if self.first < stop else None


@st.composite
def wishes(draw: st.DrawFn, size: int, chunk: int, longest: int) -> Wanted:
    """Draw a range, most likely near the borders of chunks or near the end."""
    borders = st.integers(0, size // chunk + 1).map(lambda number: number * chunk)
    near = st.builds(
        lambda border, step: max(0, border + step),
        st.one_of(borders, st.just(size)),
        st.integers(-2, 2),
    )
    first = draw(st.one_of(near, st.integers(0, size)))
    length = draw(st.one_of(st.integers(0, 3), st.integers(0, longest), st.just(chunk)))
    kind = draw(st.sampled_from(("closed", "suffix", "open")))
    if kind == "suffix":
        return Wanted(None, min(length, longest))
    if kind == "open" and size - first <= longest:
        return Wanted(first, None)
    return Wanted(first, first + length - 1 if length else first)


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """Draw an image: empty, tiny, around a border, with chunks of zeros or equal ones."""
    size = draw(
        st.one_of(
            st.sampled_from((0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 1)),
            st.integers(1, len(BASE)),
        )
    )
    pieces = draw(st.lists(st.sampled_from(("zeros", "base", "own")), min_size=4, max_size=4))
    made = bytearray(BASE)
    for index, piece in enumerate(pieces):
        if piece == "zeros":
            made[index * CHUNK : (index + 1) * CHUNK] = bytes(CHUNK)
        elif piece == "own":
            made[index * CHUNK] ^= draw(st.integers(1, 255))
    return bytes(made[:size])


@st.composite
def cases(draw: st.DrawFn) -> tuple[bytes, list[Wanted | None]]:
    """Draw an image, and what is asked of it, one after the other."""
    data = draw(images())
    one = st.one_of(st.none(), wishes(len(data), CHUNK, len(data)))
    return data, draw(st.lists(one, min_size=1, max_size=5))


def get(told: Story, image: OriginImage, wanted: Wanted | None) -> Answer:
    told.ask.asked += 1
    headers = {} if wanted is None else {"Range": str(wanted)}
    return ask("GET", f"{told.node.url}/v2/images/{image.id}/file", headers=headers)


def check(answer: Answer, content: Content, wanted: Wanted | None) -> None:
    size = content.size
    part = slice(0, size) if wanted is None else wanted.part(size)
    if part is None:
        assert answer.status == 416
        return
    assert answer.status == (200 if wanted is None else 206)
    if wanted is not None:
        shown = f"bytes {part.start}-{part.stop - 1}/{size}"
        assert answer.headers["content-range"] == shown
    assert answer.body == content.read(part.start, part.stop)


async def test_any_ranges_of_any_small_image(tmp_path: Path) -> None:
    kinds = random.Random(0)

    async with story(tmp_path, more=SMALL_CHUNKS) as told:

        @settings(EXAMPLES, max_examples=120)
        @given(cases())
        def every(case: tuple[bytes, list[Wanted | None]]) -> None:
            data, asked = case
            image = told.glance.add(data, ranges=kinds.choice(("yes", "refused", "ignored")))
            for wanted in asked:
                check(get(told, image, wanted), image.content, wanted)

        await asyncio.to_thread(every)
        await told.idle()
        for image in told.glance.images.values():
            # Nothing, where all that was asked for was unsatisfiable.
            assert image.sent_bytes == (image.content.size if image.data_requests else 0)


async def test_a_sparse_image_of_3_gib(tmp_path: Path) -> None:
    islands = {
        0: b"boot",
        (1 << 20) - 3: b"across",
        (1 << 31) - 2: b"two gib",
        3 * GIB - 1: b"end of a gib",
        SPARSE_SIZE - 1: b"!",
    }

    def read(start: int, stop: int) -> bytes:
        data = bytearray(stop - start)
        for position, island in islands.items():
            for offset, byte in enumerate(island, position - start):
                if 0 <= offset < len(data):
                    data[offset] = byte
        return bytes(data)

    async with story(tmp_path, limit_bytes=4 * GIB) as told:
        image = told.glance.add(Content(SPARSE_SIZE, read))

        @settings(EXAMPLES, max_examples=60)
        @given(wishes(SPARSE_SIZE, 1 << 20, 2 << 20))
        def every(wanted: Wanted) -> None:
            check(get(told, image, wanted), image.content, wanted)

        def around_islands() -> None:
            for position, island in islands.items():
                wanted = Wanted(max(0, position - 5), position + len(island) + 5)
                check(get(told, image, wanted), image.content, wanted)

        # First while it is filled, then from the cache.
        await asyncio.to_thread(around_islands)
        await asyncio.to_thread(every)
        await told.counted("fill_duration_seconds_count", 1, result="ok")
        assert image.sent_bytes == SPARSE_SIZE
        ends = [at for first in islands for at in (first, first + len(islands[first]) - 1)]
        assert told.chunk_files() == len({end >> 20 for end in ends})  # all others are zeros
        for turn in (around_islands, every):
            await asyncio.to_thread(turn)
        await told.idle()
        assert image.sent_bytes == SPARSE_SIZE
