"""Policies of others, as published, to compare with; each counts the misses of a whole trace."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

_Queue = OrderedDict[int, None]


def arc(uses: Sequence[int], capacity: int) -> int:
    """ARC (Megiddo and Modha, 2003): recency and frequency, and a target between them."""
    once: _Queue = OrderedDict()
    often: _Queue = OrderedDict()
    once_gone: _Queue = OrderedDict()
    often_gone: _Queue = OrderedDict()
    target = 0.0
    misses = 0

    def replace(*, was_often: bool) -> None:
        if once and (len(once) > target or (was_often and len(once) == int(target)) or not often):
            once_gone[once.popitem(last=False)[0]] = None
        else:
            often_gone[often.popitem(last=False)[0]] = None

    for block in uses:
        if block in often:
            often.move_to_end(block)
            continue
        if block in once:
            del once[block]
            often[block] = None
            continue
        misses += 1
        was_once, was_often = block in once_gone, block in often_gone
        full = len(once) + len(often) >= capacity
        if was_once or was_often:
            gone, other = (once_gone, often_gone) if was_once else (often_gone, once_gone)
            step = max(1.0, len(other) / len(gone))
            target = min(capacity, target + step) if was_once else max(0.0, target - step)
            if full:
                replace(was_often=was_often)
            del gone[block]
            often[block] = None
            continue
        if len(once) + len(once_gone) >= capacity:
            if once_gone:
                once_gone.popitem(last=False)
                if full:
                    replace(was_often=False)
            else:
                once.popitem(last=False)
        elif full:
            if len(once_gone) + len(often_gone) >= capacity and often_gone:
                often_gone.popitem(last=False)
            replace(was_often=False)
        once[block] = None
    return misses


def s3_fifo(uses: Sequence[int], capacity: int) -> int:
    """S3-FIFO (Yang and others, 2023): a small queue of a tenth, a main one, and ghosts."""
    small_size = max(1, capacity // 10)
    small: _Queue = OrderedDict()
    main: _Queue = OrderedDict()
    ghosts: _Queue = OrderedDict()
    hits: dict[int, int] = {}
    misses = 0
    for block in uses:
        if block in hits:
            hits[block] = min(3, hits[block] + 1)
            continue
        misses += 1
        while len(hits) >= capacity:
            if len(small) >= small_size or not main:
                victim = small.popitem(last=False)[0]
                if hits[victim] > 1:
                    hits[victim] = 0
                    main[victim] = None
                    continue
                ghosts[victim] = None
                while len(ghosts) > capacity - small_size:
                    ghosts.popitem(last=False)
            else:
                victim = main.popitem(last=False)[0]
                if hits[victim]:
                    hits[victim] -= 1
                    main[victim] = None
                    continue
            del hits[victim]
        hits[block] = 0
        if block in ghosts:
            del ghosts[block]
            main[block] = None
        else:
            small[block] = None
    return misses
