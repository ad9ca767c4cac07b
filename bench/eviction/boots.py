"""A model of what a compute node asks for: virtual machines that boot, and whole images copied.

Images come in families that share the beginning of their data.  Which image boots is Zipf
distributed; a boot reads a part of the image, nearly the same at each boot, in short runs.  Whole
images are read from beginning to end, each as likely, as Nova copies an image that it does not
have.  Several readers run at once.  A chunk is a MiB.

What a source costs: with ranges, the chunks that are fetched; without, all from the beginning to
the last chunk that is needed, for each reader that meets a missing one.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from bench.eviction.cache import SimulatedCache
from bench.eviction.traces import Trace

IMAGES = 60
FAMILIES = 12
SHARED_CHUNKS = (50, 150)  # of a family, at the beginning of each of its images
OWN_CHUNKS = (60, 500)
BOOT_CHUNKS = (30, 120)
BOOT_RUN = (2, 16)  # chunks in a row
VARIATION = 0.05  # of a boot's runs are elsewhere each time
ZIPF = 1.0
READERS = 4
TURN = (1, 16)  # chunks that a reader reads until it is another's turn


@dataclass(frozen=True, slots=True)
class Image:
    """An image's chunks, and what its boots read."""

    chunks: range | tuple[int, ...]
    ranges: bool  # whether its source can do them
    boot: tuple[range, ...]


@dataclass(frozen=True, slots=True)
class Boots:
    """Reads of images in turns: (reader, image, indices)."""

    images: tuple[Image, ...]
    turns: tuple[tuple[int, int, range], ...]
    blocks: int

    @classmethod
    def model(
        cls, reads: int, *, scans: float = 0.1, without_ranges: float = 0.5, seed: int = 1
    ) -> Boots:
        """Draw images and `reads` reads; a share of them scans, a share of images without ranges."""
        draw = random.Random(seed)
        images, blocks = _images(draw, without_ranges)
        weights = list(accumulate((i + 1) ** -ZIPF for i in range(IMAGES)))
        ranks = draw.sample(range(IMAGES), IMAGES)

        def read() -> Iterator[tuple[int, range]]:
            if draw.random() < scans:
                number = draw.randrange(IMAGES)
                yield number, range(len(images[number].chunks))
                return
            number = ranks[draw.choices(range(IMAGES), cum_weights=weights)[0]]
            image = images[number]
            for run in image.boot:
                if draw.random() < VARIATION:
                    first = draw.randrange(len(image.chunks) - len(run))
                    yield number, range(first, first + len(run))
                else:
                    yield number, run

        return cls(images, tuple(_turns(draw, read, reads)), blocks)

    def trace(self, name: str) -> Trace:
        """Return the chunks as a trace, in the order of their use."""
        uses = array("I")
        for _, number, indices in self.turns:
            chunks = self.images[number].chunks
            uses.extend(chunks[index] for index in indices)
        return Trace(name, uses, self.blocks)

    def fetched(self, cache: SimulatedCache) -> int:
        """Run it; return the MiB that came from the sources."""
        total = 0
        reached: dict[int, int] = {}  # reader → the chunks that its transfer has passed
        for reader, number, indices in self.turns:
            image = self.images[number]
            for index in indices:
                chunk = image.chunks[index]
                if not cache.use(chunk):
                    if not image.ranges:
                        begin = reached.get(reader, 0)
                        if begin > index:
                            begin = 0  # what was passed is gone
                        total += index + 1 - begin
                        for passed in image.chunks[begin:index]:
                            if passed not in cache:
                                cache.store(passed, 1)
                        reached[reader] = index + 1
                    else:
                        total += 1
                    cache.store(chunk, 1)
                    cache.use(chunk)  # it is sent as soon as it is there
        return total


def _images(draw: random.Random, without_ranges: float) -> tuple[tuple[Image, ...], int]:
    blocks = 0
    shared: list[range] = []
    for _ in range(FAMILIES):
        count = draw.randint(*SHARED_CHUNKS)
        shared.append(range(blocks, blocks + count))
        blocks += count
    images: list[Image] = []
    for number in range(IMAGES):
        count = draw.randint(*OWN_CHUNKS)
        chunks = (*shared[number % FAMILIES], *range(blocks, blocks + count))
        blocks += count
        boot: list[range] = []
        wanted = draw.randint(*BOOT_CHUNKS)
        while wanted > 0:
            length = draw.randint(*BOOT_RUN)
            first = int(draw.betavariate(1, 3) * (len(chunks) - length))  # mostly near the front
            boot.append(range(first, first + length))
            wanted -= length
        images.append(Image(chunks, draw.random() >= without_ranges, tuple(boot)))
    return tuple(images), blocks


def _turns(
    draw: random.Random, read: Callable[[], Iterator[tuple[int, range]]], reads: int
) -> Iterator[tuple[int, int, range]]:
    active: dict[int, Iterator[tuple[int, range]]] = {}
    started = 0
    left: dict[int, tuple[int, range]] = {}
    while True:
        while len(active) < READERS and started < reads:
            started += 1
            active[started] = read()
        if not active:
            return
        reader = draw.choice(list(active))
        run = left.pop(reader, None) or next(active[reader], None)
        if run is None:
            del active[reader]
            continue
        number, indices = run
        turn = draw.randint(*TURN)
        yield reader, number, indices[:turn]
        if len(indices) > turn:
            left[reader] = (number, indices[turn:])


def usual(reads: int) -> list[tuple[str, Boots]]:
    """Return the model for sources that can do ranges, that cannot, and of both kinds."""
    return [
        (f"boot, {name}", Boots.model(reads, without_ranges=share))
        for name, share in (("all ranges", 0.0), ("half ranges", 0.5), ("no ranges", 1.0))
    ]
