"""A scripted scenario: an origin, the real program in front of it, its clients, and order at last.

    async with story(tmp_path, workers=3) as told:
        image = told.glance.add(data)
        assert await told.ask(image.id).body() == data
    # here all of it was looked through: see `idle`

Tests move on when the origin reaches a barrier, a client has its bytes, or a metric of the node
says so; never because time has passed.  The node is looked at from a thread: it may be asking the
origin, which answers on the test's own loop.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cacheproxy.meter import Histogram, Labels, Metric, SparseCounter
from cacheproxy.metrics import EQUATIONS, RESULTS
from harness.downloads import Clients, clients
from harness.node import LIMIT_BYTES, Node, async_node
from harness.origin import Origin, origin
from harness.waiting import until

CHUNK = 1 << 20  # the node's default
INDEX_SLACK_BYTES = CHUNK // 4  # the index may grow by a page or two; a chunk takes more
READY = "cacheproxy: ready: "  # once every child serves, so that all get their share of clients
STARTED = re.compile(r"cacheproxy: (keeper|worker \d+) started \(process (\d+)\)")


@dataclass(eq=False)
class Story:
    """What a scenario has at hand."""

    glance: Origin
    node: Node
    ask: Clients
    limit_bytes: int

    async def metric(self, name: str, **labels: str) -> float:
        """Return a figure of the node, without `cacheproxy_`."""
        return figure(await asyncio.to_thread(self.node.metrics), name, **labels)

    async def ended(self, result: str) -> float:
        """Return how many requests ended so, once all have ended."""
        return figure(await self.idle(), "requests_total", result=result)

    async def counted(self, name: str, least: float, **labels: str) -> None:
        """Wait until a figure of the node is at least this."""
        await asyncio.to_thread(
            until,
            f"{name} {labels} to be {least}",
            lambda: figure(self.node.metrics(), name, **labels) >= least,
        )

    async def shrunk(self, before: dict[str, float]) -> None:
        """Wait until the cache counts no more bytes than before, but for a page of its index."""
        most = figure(before, "cache_bytes") + INDEX_SLACK_BYTES
        await asyncio.to_thread(
            until,
            f"the cache to have {most} bytes at most",
            lambda: figure(self.node.metrics(), "cache_bytes") <= most,
        )

    def process(self, name: str) -> psutil.Process:
        """Return the latest process of the keeper or `worker N`."""
        return psutil.Process(self._pid(name))

    async def replaced(self, name: str, old: psutil.Process) -> None:
        """Wait until another process has taken the place of one that was lost."""
        await asyncio.to_thread(until, f"another {name}", lambda: self._pid(name) != old.pid)

    def _pid(self, name: str) -> int:
        found = dict(STARTED.findall(self.node.program.log.read_text()))
        return int(found[name])

    async def idle(self) -> dict[str, float]:
        """Wait until nothing is in progress, look through everything, and return the metrics.

        No leases, reservations, fills, connections, nameless or temporary files are left, the
        figures add up, each request has one result, the disk holds what it may, and nothing was
        logged that has a traceback.
        """
        samples = await asyncio.to_thread(until, "the node to be idle", self._quiet)
        for equation in EQUATIONS:
            assert equation.holds(lambda metric, labels: total(samples, metric, labels)), equation
        assert figure(samples, "file_requests_total") == self.ask.asked
        assert disk_bytes(self.node.cache) <= self.limit_bytes
        log = self.node.program.log.read_text()
        assert "Traceback" not in log
        assert "never retrieved" not in log
        return samples

    def _quiet(self) -> dict[str, float]:
        """Return the metrics, nothing while something is in progress."""
        samples = self.node.metrics()
        still = ("leases", "reserved_bytes", "flights")
        results = sum(figure(samples, "requests_total", result=result) for result in RESULTS)
        quiet = (
            not any(figure(samples, name) for name in still)
            and figure(samples, "connections") == 1  # the one that asks for the metrics
            and results == figure(samples, "file_requests_total") >= self.ask.asked
            and not self._deleted_files()
            and not list((self.node.cache / "staging").iterdir())
        )
        return samples if quiet else {}

    def _deleted_files(self) -> bool:
        """Whether an evicted file is still open in any process."""
        for process in self.node.program.children():
            for entry in Path(f"/proc/{process.pid}/fd").iterdir():
                try:
                    target = str(entry.readlink())
                except FileNotFoundError:  # closed meanwhile
                    continue
                if target.startswith(f"{self.node.cache}/chunks") and "(deleted)" in target:
                    return True
        return False

    def chunk_files(self) -> int:
        """Count the chunk files on the disk."""
        return sum(1 for path in self.node.cache.glob("chunks/*/*") if path.is_file())


def figure(samples: dict[str, float], name: str, **labels: str) -> float:
    """Return one figure of all, without `cacheproxy_`."""
    shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return samples[f"cacheproxy_{name}{{{shown}}}" if labels else f"cacheproxy_{name}"]


def total(samples: dict[str, float], metric: Metric, labels: Labels) -> float:
    """Read a figure as the metrics' equations want it: summed over the labels where none is told."""
    name = f"{metric.name}_count" if isinstance(metric, Histogram) else metric.name
    if labels:
        ((label, value),) = zip(metric.label_names, labels, strict=True)
        sample = f'{name}{{{label}="{value}"}}'
        return samples.get(sample, 0.0) if isinstance(metric, SparseCounter) else samples[sample]
    return sum(value for key, value in samples.items() if key.partition("{")[0] == name)


def disk_bytes(directory: Path) -> int:
    """Return what du says of a directory."""
    done = subprocess.run(
        ["du", "-s", "--block-size=1", directory], capture_output=True, text=True, check=False
    )
    return int(done.stdout.split()[0])  # it may complain of files that vanish as it looks


@asynccontextmanager
async def story(
    directory: Path, *, limit_bytes: int = LIMIT_BYTES, **options: Any
) -> AsyncIterator[Story]:
    """Run an origin, a node in front of it and its clients; at the end the node must be idle."""
    async with (
        origin() as glance,
        async_node(directory, glance.url, limit_bytes=limit_bytes, **options) as node,
        clients(node.url) as ask,
    ):
        told = Story(glance, node, ask, limit_bytes)
        log = node.program.log
        await asyncio.to_thread(until, "all processes", lambda: READY in log.read_text())
        yield told
        await ask.close()
        await told.idle()
