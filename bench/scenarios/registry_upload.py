"""An image into our catalog and into Glance 33, both with a file store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial

from blake3 import blake3

from bench.bars import BARS
from bench.catalogs import BUSY, CPU_GB, GLANCE, LOAD_BUSY, MB_RATE, PEAK, Side, catalogs, compared
from bench.cost import costing
from bench.images import MIB, random_bytes
from bench.load import Target
from bench.load.upload import send_whole
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.server import LOAD_CORE, SERVER_CORE, path_of, pinned
from bench.sides import OURS

IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 32 * MIB
HASHED_MIB = 256
COLUMNS = (MB_RATE, CPU_GB, BUSY, LOAD_BUSY, PEAK)
ROUNDS = 5


def run(options: Options) -> Report:
    """Upload in turn, over one connection; ours computes a manifest as well."""
    data = random_bytes(IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES)
    md5, sha512 = hashlib.md5(data).hexdigest(), hashlib.sha512(data).hexdigest()
    report = Report([])
    cases = {"the service on one core": (SERVER_CORE,), "on both cores": (SERVER_CORE, LOAD_CORE)}
    for case, cores in cases.items():
        with catalogs(options.directory / str(len(cores)), cores) as sides:

            def turn(side: Side) -> Figures:
                image = side.api.create()
                target = Target(path_of(image), len(data), side.token)
                send = partial(send_whole, side.server, target, data)
                seconds, cost = costing(side.server, send)
                record = side.api.show(image)
                assert (record["checksum"], record["os_hash_value"]) == (md5, sha512)
                side.api.delete(image)
                return {
                    MB_RATE: len(data) / 1e6 / seconds,
                    CPU_GB: cost.cpu_seconds / (len(data) / 1e9),
                    BUSY: 100 * cost.server_busy,
                    LOAD_BUSY: 100 * cost.load_busy,
                    PEAK: side.server.peak_bytes() / MIB,
                }

            found = compared(f"registry-upload, {case}", sides, turn, options)
        title = f"An image of {len(data) // MIB} MiB, {case}, medians of {options.rounds} rounds"
        report.tables.append(found.table(title, COLUMNS, ratio=MB_RATE))
        report.notes.append(f"{case}: {found.rounds.note()}")
        if len(cores) > 1:
            ratio = found.ratio(MB_RATE, OURS, GLANCE)
            report.verdicts.append(BARS["registry-upload"].judge(ratio, case))
        else:
            report.notes.append(_bound(found.median(GLANCE, CPU_GB)))
        report.rounds[case] = found.plain()
    return report


def _bound(theirs: float) -> str:
    """Say what no service on one core can surpass; `theirs` is Glance's processor time, in s/GB."""
    costs = {
        "MD5": _hash_seconds(hashlib.md5(usedforsecurity=False).update),
        "SHA-512": _hash_seconds(hashlib.sha512().update),
        "BLAKE3": _hash_seconds(blake3().update),
    }
    told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in costs.items())
    most = theirs / sum(costs.values())
    return (
        f"The hashes alone take, in CPU s/GB: {told}.  On one core nobody who computes them is more "
        f"than {most:.1f} times as fast as Glance, so the bar counts on both cores"
    )


def _hash_seconds(update: Callable[[bytes], object]) -> float:
    data = random_bytes(MIB)
    with pinned(LOAD_CORE):
        before = time.thread_time()
        for _ in range(HASHED_MIB):
            update(data)
        return (time.thread_time() - before) / (HASHED_MIB * MIB / 1e9)


SCENARIO = Scenario("registry-upload", "an image with its hashes, against Glance 33", run, ROUNDS)
