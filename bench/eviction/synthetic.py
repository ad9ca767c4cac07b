"""Made traces, each good for one policy and bad for another."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice

from bench.eviction.traces import Trace

BLOCKS = 5000

_Uses = Iterator[int]


def _zipf(draw: random.Random, exponent: float, blocks: int = BLOCKS) -> _Uses:
    weights = list(accumulate((i + 1) ** -exponent for i in range(blocks)))
    numbers = draw.sample(range(blocks), blocks)
    while True:
        yield from draw.choices(numbers, cum_weights=weights, k=1000)


def _shifting(draw: random.Random) -> _Uses:
    """Draw from a Zipf distribution whose blocks are replaced little by little."""
    blocks = 3000
    weights = list(accumulate((i + 1) ** -0.9 for i in range(blocks)))
    numbers = list(range(blocks))
    fresh = blocks
    while True:
        yield from draw.choices(numbers, cum_weights=weights, k=1000)
        for _ in range(blocks // 30):
            numbers[draw.randrange(blocks)] = fresh
            fresh += 1


def _recency(draw: random.Random) -> _Uses:
    """What was used lately is used again, by its rank in an LRU stack."""
    stack: list[int] = []
    fresh = 0
    while True:
        depth = int(draw.expovariate(1 / 700))
        if depth >= len(stack) or draw.random() < 0.03:
            stack.append(fresh)
            fresh += 1
        else:
            stack.append(stack.pop(-1 - depth))
        del stack[: len(stack) - BLOCKS]
        yield stack[-1]


def _window(draw: random.Random) -> _Uses:
    """A window that moves on: what it has left never comes back."""
    i = 0
    while True:
        yield i // 5 + draw.randrange(1500)
        i += 1


def _loop(draw: random.Random) -> _Uses:
    del draw
    while True:
        yield from range(BLOCKS)


def _there_and_back(draw: random.Random) -> _Uses:
    """The best there is for LRU, the worst for whoever keeps what is older."""
    del draw
    while True:
        yield from range(BLOCKS)
        yield from reversed(range(BLOCKS))


def _scans(draw: random.Random) -> _Uses:
    often = _zipf(draw, 0.9)
    fresh = BLOCKS
    while True:
        yield from islice(often, 8000)
        yield from range(fresh, fresh + 4000)
        fresh += 4000


def _once(draw: random.Random) -> _Uses:
    often = _zipf(draw, 0.9)
    fresh = BLOCKS
    while True:
        yield next(often)
        yield fresh
        fresh += 1


def _twice(draw: random.Random) -> _Uses:
    """Each block is used twice, some way apart, and never again: a use proves nothing."""
    again: list[int] = []
    fresh = 0
    while True:
        again.append(fresh)
        yield fresh
        fresh += 1
        if len(again) > 1500:
            yield again.pop(draw.randrange(len(again) - 1000))


def _alternating(draw: random.Random) -> _Uses:
    """Recency, a loop and Zipf in turns, of other blocks each, to mislead who adapts."""
    kinds = (_recency(draw), _loop(draw), _zipf(draw, 0.9))
    while True:
        for number, kind in enumerate(kinds):
            for block in islice(kind, 20_000):
                yield len(kinds) * block + number


KINDS: dict[str, Callable[[random.Random], _Uses]] = {
    "zipf-0.6": lambda draw: _zipf(draw, 0.6),
    "zipf-0.9": lambda draw: _zipf(draw, 0.9),
    "zipf-1.2": lambda draw: _zipf(draw, 1.2),
    "shifting": _shifting,
    "recency": _recency,
    "window": _window,
    "loop": _loop,
    "there-and-back": _there_and_back,
    "scans": _scans,
    "once": _once,
    "twice": _twice,
    "alternating": _alternating,
}


def synthetic(uses: int, kinds: Sequence[str] = tuple(KINDS), seed: int = 1) -> list[Trace]:
    """Make traces of so many uses each."""
    return [Trace.of(name, islice(KINDS[name](random.Random(seed)), uses)) for name in kinds]
