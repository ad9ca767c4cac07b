"""The simulator of eviction: formats of traces, the optimum, LRU and the policies of others."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.eviction.__main__ import main
from bench.eviction.boots import Boots
from bench.eviction.cache import SimulatedCache
from bench.eviction.optimum import next_uses, optimum
from bench.eviction.references import arc, s3_fifo
from bench.eviction.simulation import run
from bench.eviction.synthetic import KINDS, synthetic
from bench.eviction.traces import Trace, digests, load
from bench.scenario import MissingError
from cacheproxy.core.adaptive import Adaptive
from cacheproxy.core.eviction import LeastRecentlyUsed

USES = [7, 300_000, 7, 5]
LINES = b"7\r\n300000\r\n*\r\n7\r\n5\r\n"


def naive_lru(uses: Sequence[int], capacity: int) -> int:
    held: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for block in uses:
        if block in held:
            held.move_to_end(block)
            continue
        misses += 1
        if len(held) == capacity:
            held.popitem(last=False)
        held[block] = None
    return misses


def naive_optimum(uses: Sequence[int], capacity: int) -> int:
    held: set[int] = set()
    misses = 0
    for i, block in enumerate(uses):
        if block not in held:
            misses += 1
            if len(held) == capacity:
                rest = list(uses[i + 1 :])
                held.remove(max(held, key=lambda b: rest.index(b) if b in rest else len(rest)))
            held.add(block)
    return misses


def mixed(length: int, seed: int) -> list[int]:
    draw = random.Random(seed)
    return [draw.choice((draw.randrange(8), draw.randrange(40), i % 25)) for i in range(length)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize("data", [LINES, struct.pack("<4I", *USES)])
def test_the_format_is_seen_from_the_content(
    pack: Callable[[bytes], bytes], data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "name.trace.any"
    path.write_bytes(pack(data))
    trace = load(path)
    assert (trace.name, list(trace.uses), trace.blocks) == ("name", [0, 1, 0, 2], 3)
    assert trace.first(1).blocks == 1


def test_what_is_no_trace_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no trace"):
        load(tmp_path / "absent")
    (tmp_path / "odd").write_bytes(b"\0\0\0\0\0")
    with pytest.raises(MissingError, match="neither"):
        load(tmp_path / "odd")


@pytest.mark.parametrize("capacity", [1, 2, 5, 17])
@pytest.mark.parametrize("delay", [1, 7, 1000])
def test_lru_is_exact_however_late_uses_are_told(capacity: int, delay: int) -> None:
    uses = mixed(3000, 1)
    cache = SimulatedCache(LeastRecentlyUsed(), capacity, digests(40), delay=delay)
    assert cache.run(uses) == naive_lru(uses, capacity)
    assert cache.used == capacity


@pytest.mark.parametrize("capacity", [1, 2, 5, 17])
def test_nobody_misses_less_than_the_optimum(capacity: int) -> None:
    uses = mixed(400, 2)
    best = optimum(uses, next_uses(uses, 40), 40, capacity)
    assert best == naive_optimum(uses, capacity)
    adaptive = SimulatedCache(Adaptive(capacity), capacity, digests(40)).run(uses)
    assert best <= min(adaptive, arc(uses, capacity), s3_fifo(uses, capacity))


@pytest.mark.parametrize("policy", [arc, s3_fifo])
def test_others_hit_all_that_fits(policy: Callable[[Sequence[int], int], int]) -> None:
    uses = mixed(2000, 3)
    assert policy(uses, 40) == len(set(uses))


@pytest.mark.parametrize("kind", KINDS)
def test_made_traces_fetch_as_lru_or_less(kind: str) -> None:
    (trace,) = synthetic(30_000, [kind])
    (curve,) = run([trace], [0.05, 0.3], ["lru", "adaptive"])
    assert max(curve.behind("adaptive")) < 1
    assert curve.missed["lru"] == [naive_lru(trace.uses, size) for size in curve.sizes]


def test_scans_fetch_clearly_less() -> None:
    (curve,) = run(synthetic(100_000, ["scans"]), [0.02, 0.05], ["adaptive"])
    assert max(curve.behind("adaptive")) < -4


def test_a_lost_chunk_without_ranges_costs_all_before_it() -> None:
    for without_ranges, cost in ((0.0, 1), (1.0, 5)):
        boots = Boots.model(1, scans=1, without_ranges=without_ranges)
        (image,) = {number for _, number, _ in boots.turns}
        chunks = boots.images[image].chunks
        again = Boots(boots.images, (*boots.turns, (2, image, range(4, 5))), boots.blocks)
        cache = SimulatedCache(LeastRecentlyUsed(), len(chunks), digests(boots.blocks))
        assert again.fetched(cache) == len(chunks)  # all was there
        small = SimulatedCache(LeastRecentlyUsed(), len(chunks) - 5, digests(boots.blocks))
        assert again.fetched(small) == len(chunks) + cost


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.trace"
    path.write_text("\n".join(map(str, mixed(500, 4))))
    out = tmp_path / "out.json"
    assert main([str(path), "--sizes", "10,50", "--uses", "300", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "small: 300 uses" in printed
    (curve,) = json.loads(out.read_text())["curves"]
    assert (curve["uses"], len(curve["sizes"])) == (300, 2)
    assert set(curve["missed"]) == {"lru", "adaptive", "arc", "s3-fifo", "optimum"}
    assert main([str(tmp_path / "absent")]) == 1
    with pytest.raises(SystemExit):
        main([str(path), "--policies", "none"])


def test_traces_of_all_kinds_have_uses() -> None:
    assert all(len(trace.uses) == 1000 for trace in synthetic(1000))
    assert Trace.of("n", [3, 3]).blocks == 1
