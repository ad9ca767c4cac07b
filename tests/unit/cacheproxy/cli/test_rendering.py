"""What the commands print of fixed answers, to the letter; the samples of docs/commands.md are these."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import msgspec
import pytest

from cacheproxy.admin import results
from cacheproxy.cli import changes, images, prefetch, status, url, verify
from cacheproxy.cli.manual import PAGES
from cacheproxy.cli.parser import build

GIB, MIB = 1 << 30, 1 << 20
IMAGE = "6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f000{}"

FILL = results.FillInProgress(
    image=IMAGE.format(2),
    size_bytes=GIB,
    there_bytes=339 * MIB,
    whole=True,
    readers=2,
    seconds=12.6,
)
STATUS = results.StatusResult(
    version="0.1.0",
    directory="/var/lib/cacheproxy",
    uptime_seconds=3 * 86_400 + 4 * 3600 + 59,
    processes=results.Processes(
        supervisor_pid=812,
        keeper_pid=815,
        workers=[results.Worker(number=0, pid=816), results.Worker(number=1, pid=817)],
        keeper_starts=1,
        worker_count=2,
        worker_starts=2,
    ),
    upstreams=[results.UpstreamUrl(url="http://glance.example:9292", unused_by=0)],
    disk=results.Disk(state="normal", trouble=None),
    space=results.Space(
        limit_bytes=10 * GIB,
        effective_limit_bytes=10 * GIB,
        used_bytes=7 * GIB + 87 * MIB,
        chunk_bytes=7 * GIB,
        quarantine_bytes=2 * MIB,
        unknown_bytes=0,
        overhead_bytes=85 * MIB,
        reserved_bytes=685 * MIB,
        pinned_bytes=2 * GIB,
        reconciled=True,
    ),
    scrub=results.Scrub(
        state="running",
        progress=0.314,
        chunks=2251,
        read_bytes=2251 * MIB,
        damaged_chunks=0,
        begun_at=1_790_000_000.0,
        finished_at=1_789_000_000.0,
    ),
    counts=results.Counts(chunks=7168, contents=14, images=17, pinned=2),
    requests=results.Requests(
        hit=1100,
        partial=12,
        miss=80,
        bypass=100,
        refused=2,
        error=0,
        hit_ratio=1100 / 1192,
        served_bytes=1200 * GIB,
        cached_byte_ratio=0.961,
    ),
    fills_in_progress=1,
    fills=[FILL],
)
ROWS = [
    results.ImageRow(
        image=IMAGE.format(3),
        size_bytes=2 * GIB,
        cached_bytes=0,
        knowledge="published",
        pinned=False,
        filling=False,
    ),
    results.ImageRow(
        image=IMAGE.format(1),
        size_bytes=10 * GIB,
        cached_bytes=10 * GIB,
        knowledge="proven",
        pinned=True,
        filling=False,
    ),
    results.ImageRow(
        image=IMAGE.format(2),
        size_bytes=GIB,
        cached_bytes=339 * MIB,
        knowledge="learning",
        pinned=False,
        filling=True,
    ),
]
SHOWN = results.ShowResult(
    image=IMAGE.format(2),
    size_bytes=64 * MIB + MIB // 2,
    checksum="b1946ac92492d2347c6235b4d2611184",
    hash_algo="sha512",
    hash_value="0c0d",
    content="sha512:0c0d/1048576",
    chunk_bytes=MIB,
    knowledge="proven",
    pinned=False,
    same_content=[IMAGE.format(3)],
    cached=results.Cached(
        cached_bytes=32 * MIB + MIB // 2,
        chunks=33,
        chunk_count=65,
        ranges=[
            results.Range(start=0, stop=16 * MIB),
            results.Range(start=48 * MIB, stop=64 * MIB + MIB // 2),
        ],
        range_count=2,
        cells=[1.0] * 16 + [0.0] * 31 + [0.5] + [1.0] * 16,
    ),
    fill=None,
)

SIGNED = url.Signed(
    image="6ea1ff0e-2f7b",
    url="http://127.0.0.1:9292/cacheproxy/v1/images/6ea1ff0e-2f7b/file?grant=1.2a.1.2.x.y",
    expires_at="2026-11-23T01:25:00Z",
    ends_with_token=True,
    disk_format="qcow2",
)


def listed(*options: str) -> str:
    return images.render_list(images.choose(ROWS, parsed(*options)), len(ROWS))


def parsed(*options: str) -> Namespace:
    return build().parse_args(["list", *options])


def replaced(struct: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(struct, **changes)


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("status", status.render(STATUS)),
        ("list", listed()),
        ("show", images.render_show(SHOWN)),
        ("url", url.render(SIGNED)),
    ],
)
def test_the_samples_are_what_is_printed(command: Any, printed: str) -> None:
    assert printed + "\n" == PAGES[command].sample


def test_a_status_that_is_not_all_well() -> None:
    ill = replaced(
        STATUS,
        disk=results.Disk(state="bypass", trouble="it does not answer"),
        space=replaced(
            STATUS.space,
            effective_limit_bytes=5 * GIB,
            reconciled=False,
            unknown_bytes=GIB,
            pinned_bytes=0,
        ),
        processes=replaced(STATUS.processes, workers=[], keeper_starts=3),
        upstreams=[
            results.UpstreamUrl(url="http://glance1.example:9292", unused_by=2),
            results.UpstreamUrl(url="http://glance2.example:9292", unused_by=1),
        ],
        stores=[
            results.DirectStore(name="fast", kind="rbd", trouble=None),
            results.DirectStore(name="cheap", kind="s3", trouble="nothing came for 10 s"),
        ],
        scrub=replaced(STATUS.scrub, damaged_chunks=4),
        counts=replaced(STATUS.counts, pinned=0),
        requests=replaced(STATUS.requests, hit_ratio=None, cached_byte_ratio=None),
        fills_in_progress=0,
        fills=[],
    )
    assert status.render(ill) == (
        "cacheproxy 0.1.0, up 3 d 4 h, cache in /var/lib/cacheproxy\n\n"
        "upstream   http://glance1.example:9292: does not work, 2 processes found\n"
        "           http://glance2.example:9292: does not work, one process found\n"
        "stores     fast (rbd)\n"
        "           cheap (s3) fails, the upstream stands in: nothing came for 10 s\n"
        "disk       bypass: the cache is not used, everything comes from the upstream\n"
        "           it does not answer\n"
        "space      [##############------]  70.8 % of 10.0 GiB\n"
        "           chunks 7.0 GiB, index and directories 85.0 MiB, quarantine 2.0 MiB, "
        "reserved 685.0 MiB\n"
        "           no more than 5.0 GiB now: others fill the file system\n"
        "           being compared with the disk: up to 1.0 GiB more may be there\n"
        "known      7,168 chunks, 14 contents, 17 images\n"
        "requests   1,294: 1,100 hit, 12 partial, 80 miss, 100 bypass, 2 refused, 0 error\n"
        "processes  supervisor 812, keeper 815 (started again 2 times), workers none connected\n"
        "scrubber   running, 31.4 % of a round, 2.2 GiB read, 4 chunks damaged\n"
        "fills      none in progress"
    )


def test_fills_of_parts_and_more_of_them_than_are_told() -> None:
    part = replaced(FILL, whole=False, readers=1)
    told = status.render(replaced(STATUS, fills_in_progress=3, fills=[FILL, part]))
    assert told.splitlines()[-3:] == [
        f"           {IMAGE.format(2)}  [######--------------]  33.1 % of 1.0 GiB, 2 readers, 12 s",
        f"           {IMAGE.format(2)}  339.0 MiB so far, 1 reader, 12 s",
        "           …",
    ]


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ((), "123"),
        (("--sort", "image"), "123"),
        (("--sort", "image", "--reverse"), "321"),
        (("--sort", "size"), "132"),
        (("--sort", "percent"), "123"),
        (("--sort", "percent", "--reverse"), "321"),
        (("--limit", "2"), "12"),
        (("--limit", "2", "--skip", "2"), "3"),
        (("--skip", "9"), ""),
        (("--only", "complete"), "1"),
        (("--only", "partial"), "2"),
        (("--only", "absent"), "3"),
        (("--only", "pinned"), "1"),
        (("--only", "filling"), "2"),
        (("--only", "learning"), "2"),
    ],
)
def test_lists_are_sorted_filtered_and_cut(options: tuple[str, ...], order: str) -> None:
    assert "".join(row.image[-1] for row in images.choose(ROWS, parsed(*options))) == order


def test_an_image_that_is_only_pinned_has_no_size_yet() -> None:
    row = replaced(ROWS[0], knowledge="unknown", pinned=True, size_bytes=0)
    assert images.render_list([row], 1).splitlines()[1:] == [
        f"{IMAGE.format(3)}           0 B     unknown  pin",
        "1 image",
    ]
    for wanted in ("complete", "partial"):
        assert images.choose([row], parsed("--only", wanted)) == []
    assert images.choose([row, ROWS[1]], parsed("--sort", "percent"))[0] == ROWS[1]


def test_a_list_tells_how_many_were_left_out() -> None:
    assert listed("--limit", "1").splitlines()[-1] == "1 of 3 images"
    assert images.render_list([], 0).splitlines() == [
        "IMAGE  SIZE  CACHED  %  BYTES  PIN  FILL",
        "0 images",
    ]


def test_a_show_of_an_image_on_its_way() -> None:
    ranges = [results.Range(start=2 * at * MIB, stop=(2 * at + 1) * MIB) for at in range(9)]
    cached = replaced(SHOWN.cached, ranges=ranges, range_count=99)
    shown = replaced(
        SHOWN, checksum=None, hash_value=None, same_content=[], cached=cached, fill=FILL
    )
    printed = images.render_show(shown)
    assert "hashes" not in printed
    assert "same as" not in printed
    assert ", 14680064-15728639, …" in printed
    assert printed.splitlines()[-1].startswith(f"fill     {IMAGE.format(2)}  [######---")


def test_what_evicting_did() -> None:
    evicted = results.Evicted(
        image="i",
        dropped_chunks=100,
        dropped_disk_bytes=100 * MIB,
        held_chunks=3,
        held_disk_bytes=3 * MIB,
        shared_chunks=12,
        shared_disk_bytes=12 * MIB,
        busy_chunks=1,
    )
    assert changes.evicted_line(evicted) == (
        "i: dropped 100 chunks (100.0 MiB); 3 chunks (3.0 MiB) are being sent and follow when that "
        "is done; 12 chunks (12.0 MiB) stay, because other images have them; 1 chunk stay, because "
        "a fill needs them"
    )
    assert changes.evicted_line(results.Evicted(image="i")) == "i: nothing of it was cached"
    assert changes.evicted_line(results.Evicted(image="i", error="no")) == "i: no"


def test_what_prefetching_did() -> None:
    done = results.Prefetched(
        image="i", size_bytes=GIB, cached_bytes=GIB, fetched_bytes=GIB, seconds=8
    )
    assert prefetch.line(done, waited=True) == (
        "i: 100 % of 1.0 GiB is cached; 1.0 GiB fetched in 8 s (128.0 MiB/s)"
    )
    there = replaced(done, fetched_bytes=0)
    assert prefetch.line(there, waited=True) == (
        "i: 100 % of 1.0 GiB is cached, nothing was missing"
    )
    begun = results.Prefetched(image="i")
    assert prefetch.line(begun, waited=False) == "i: begun; see cacheproxy status"
    assert prefetch.line(results.Prefetched(image="i", error="no"), waited=True) == "i: no"


def test_what_verifying_found() -> None:
    done = results.VerifyResult(
        images=[
            results.Verified(image="i", chunks=5, bad_chunks=3),
            results.Verified(image="j", error="nothing is known of image j"),
        ],
        chunks=5,
        read_bytes=4 * MIB,
        damaged_chunks=1,
        missing_chunks=1,
        unreadable_chunks=1,
        bad=["aa", "bb"],
        seconds=2,
    )
    assert verify.render(done) == (
        "i: 5 chunks, 3 bad\n"
        "j: nothing is known of image j\n"
        "5 chunks read, 4.0 MiB in 2 s (2.0 MiB/s)\n"
        "1 chunk damaged: set aside\n"
        "1 chunk missing: somebody removed the files\n"
        "1 chunk could not be read: see the kernel's log\n"
        "  aa\n"
        "  bb"
    )


def test_what_verifying_offline_found() -> None:
    good = results.OfflineResult(
        directory="/d",
        index="readable",
        chunks=2,
        read_bytes=2 * MIB,
        damaged_chunks=0,
        missing_chunks=0,
        unreadable_chunks=0,
        orphans=0,
        set_aside_chunks=0,
        bad=[],
        seconds=1,
    )
    speed = "2 chunks read, 2.0 MiB in 1 s (2.0 MiB/s)\n"
    assert verify.render_offline(good) == f"{speed}nothing is damaged"
    bad = replaced(good, index="damaged", damaged_chunks=1, orphans=3, bad=["aa"])
    assert verify.render_offline(bad) == (
        f"{speed}the index is damaged: the next start makes it again from the chunks\n"
        "1 chunk damaged: --repair sets them aside\n"
        "3 files not in the index: the next start adopts them\n"
        "  aa"
    )
    repaired = replaced(bad, index="absent", set_aside_chunks=1, missing_chunks=2)
    assert "1 chunk damaged: set aside" in verify.render_offline(repaired)
    assert "there is no index" in verify.render_offline(repaired)
    assert "2 chunks missing" in verify.render_offline(repaired)
