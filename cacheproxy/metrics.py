"""Every metric of the proxy: declared, counted and printed here.

All processes count into one shared anonymous map made before they are forked.  It holds one row of
float64 cells per process (supervisor, keeper, workers), and a row has one writer: the thread that
runs its process's loop.  Readers sum the rows, so any process can print the whole.  An aligned
float64 is written whole, so a reader sees the old value or the new one; integers stay exact up to
2**53.  A row outlives its process: counters go on where a dead child stopped, its gauges are zeroed.
"""

from __future__ import annotations

import itertools
import mmap
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

Unit = Literal["", "bytes", "seconds"]
Labels = tuple[str, ...]
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

_CELL_BYTES = 8


class Metric:
    """One metric: its name, help, unit (empty: a plain number) and at most one label."""

    cells_each = 1  # cells per label value
    sparse = False  # whether label values that never happened are left out of the print

    def __init__(
        self,
        name: str,
        text: str,
        *,
        unit: Unit = "",
        label: str | None = None,
        values: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.help = text
        self.unit = unit
        self.label_names: Labels = () if label is None else (label,)
        each: list[Labels] = [()] if label is None else [(value,) for value in values]
        first = _layout.take(self, len(each) * self.cells_each)
        self.cells = {labels: first + i * self.cells_each for i, labels in enumerate(each)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


class Counter(Metric):
    """Only ever grows, also across restarts of children."""


class SparseCounter(Counter):
    """A counter with many possible label values, of which few ever happen."""

    sparse = True


class Gauge(Metric):
    """Goes up and down; zero for a process that is not there."""


class Histogram(Metric):
    """How long things took, in seconds: a count per bucket (not cumulated), then their sum."""

    # Up to the first one a cached range is answered, past the last one an image took an hour.
    bounds: Sequence[float] = (
        *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
        *(1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
    )
    cells_each = len(bounds) + 2


class _Layout:
    """Where in a row each metric's cells are; grows with the declarations below."""

    def __init__(self) -> None:
        self.width = 0
        self.metrics: list[Metric] = []

    def take(self, metric: Metric, cells: int) -> int:
        first = self.width
        self.width += cells
        self.metrics.append(metric)
        return first


_layout = _Layout()

RESULTS = ("hit", "partial", "miss", "bypass", "refused", "error")
SOURCES = ("cache", "fill", "bypass")
FILL_RESULTS = ("ok", "failed", "mismatch")
MANIFEST_RESULTS = ("used", "none", "wrong", "failed")
CHILD_KINDS = ("keeper", "worker")
DISK_STATES = ("normal", "degraded", "bypass")

FILE_REQUESTS = Counter(
    "cacheproxy_file_requests_total",
    "GET and HEAD requests for image data, counted as their answers end.",
)
REQUESTS = Counter(
    "cacheproxy_requests_total",
    "The same requests, counted apart by result: all, some or none of the chunks were present "
    "(304 and HEAD are hits, 416 by what was present), streamed uncached, refused, failed.",
    label="result",
    values=RESULTS,
)
PASSTHROUGH_REQUESTS = SparseCounter(
    "cacheproxy_passthrough_requests_total",
    "Requests passed through to the upstream, by the status that the client got.",
    label="code",
    values=map(str, range(100, 1000)),  # whatever three digits an upstream may invent
)
PERMISSION_QUESTIONS = Counter(
    "cacheproxy_permission_questions_total",
    "Questions to the upstream whether a caller may download an image.",
)
SERVED_BYTES = Counter(
    "cacheproxy_served_bytes_total",
    "Image data sent to clients: verified from the disk, as a fill landed it, or uncached.",
    unit="bytes",
    label="source",
    values=SOURCES,
)
UPSTREAM_REQUESTS = Counter(
    "cacheproxy_upstream_requests_total",
    "Requests to the upstream for image data.",
)
UPSTREAM_BYTES = Counter(
    "cacheproxy_upstream_bytes_total",
    "Image data received from the upstream.",
    unit="bytes",
)
MANIFESTS = Counter(
    "cacheproxy_manifests_total",
    "Published manifests asked for: used, none to be had, contradicting the image or themselves, "
    "or not received. Images without one are learnt as they are fetched.",
    label="result",
    values=MANIFEST_RESULTS,
)
MANIFEST_BYTES = Counter(
    "cacheproxy_manifest_bytes_total",
    "Published manifests received from the upstream.",
    unit="bytes",
)
FLIGHTS_JOINED = Counter(
    "cacheproxy_flights_joined_total",
    "Requests that joined a fill which another request had started.",
)
VERIFY_FAILURES = Counter(
    "cacheproxy_verify_failures_total",
    "Chunks or whole images whose bytes did not match their digest or hash.",
)
CHUNKS_MISSING = Counter(
    "cacheproxy_chunks_missing_total",
    "Chunks whose files somebody else had removed, noticed when they were wanted.",
)
SCRUBBED_CHUNKS = Counter(
    "cacheproxy_scrubbed_chunks_total",
    "Chunks that were read again from the disk in the background.",
)
SCRUBBED_BYTES = Counter(
    "cacheproxy_scrubbed_bytes_total",
    "Bytes of chunks that were read again from the disk in the background.",
    unit="bytes",
)
SCRUB_DAMAGED = Counter(
    "cacheproxy_scrub_damaged_total",
    "Chunks found damaged or missing in the background, before anybody asked for them.",
)
EVICTED_BYTES = Counter(
    "cacheproxy_evicted_bytes_total",
    "Bytes of chunks evicted to make room.",
    unit="bytes",
)
IMAGE_CHECKS = Counter(
    "cacheproxy_image_checks_total",
    "Questions of the proxy's own account whether a cached image still exists.",
)
IMAGES_FORGOTTEN = Counter(
    "cacheproxy_images_forgotten_total",
    "Images that are gone upstream, forgotten together with the chunks that no other image needs.",
)
CHUNKS_STORED = Counter(
    "cacheproxy_chunks_stored_total",
    "Chunks written to the cache directory (equal and all-zero ones are not written again).",
)
CHILD_STARTS = Counter(
    "cacheproxy_child_starts_total",
    "Starts of child processes; more than one keeper, or than the workers configured: restarts.",
    label="kind",
    values=CHILD_KINDS,
)
START_TIME = Gauge(
    "cacheproxy_start_time_seconds",
    "When the daemon was started, in seconds since 1970.",
    unit="seconds",
)
CACHE_BYTES = Gauge(
    "cacheproxy_cache_bytes",
    "Bytes on disk that the cache limit covers.",
    unit="bytes",
)
CACHE_LIMIT_BYTES = Gauge(
    "cacheproxy_cache_limit_bytes",
    "The cache limit (option image_cache_size).",
    unit="bytes",
)
PINNED_BYTES = Gauge(
    "cacheproxy_pinned_bytes",
    "Bytes on disk of chunks that are pinned: they are never evicted to make room.",
    unit="bytes",
)
CACHE_EFFECTIVE_LIMIT_BYTES = Gauge(
    "cacheproxy_cache_effective_limit_bytes",
    "The limit that counts at present: lower than the configured one while less than "
    "free_bytes_min or free_inodes_min would be left to others.",
    unit="bytes",
)
RESERVED_BYTES = Gauge(
    "cacheproxy_reserved_bytes",
    "Bytes reserved for fills in progress.",
    unit="bytes",
)
DISK_STATE = Gauge(
    "cacheproxy_disk_state",
    "1 for the state that the cache's disk is in: normal; degraded, what is cached is served and "
    "nothing new is stored; bypass, the cache is not used, its process may not even run.",
    label="state",
    values=DISK_STATES,
)
DISK_TRANSITIONS = Counter(
    "cacheproxy_disk_transitions_total",
    "Changes of the disk's state, by the state that came.",
    label="to",
    values=DISK_STATES,
)
DISK_PROBE_FAILURES = Counter(
    "cacheproxy_disk_probe_failures_total",
    "Looks at the cache's disk, one a second, that found something wrong.",
)
DISK_FREE_BYTES = Gauge(
    "cacheproxy_disk_free_bytes",
    "Bytes that the cache's file system has left for ordinary users.",
    unit="bytes",
)
DISK_FREE_INODES = Gauge(
    "cacheproxy_disk_free_inodes",
    "Inodes that the cache's file system has left; 0 where it does not count them.",
)
SCRUB_PROGRESS = Gauge(
    "cacheproxy_scrub_progress",
    "How far the background check of all chunks is: 0 to 1, 0 between two rounds.",
)
SCRUB_FINISHED = Gauge(
    "cacheproxy_scrub_finished_timestamp_seconds",
    "When the background check last came to its end, in seconds since 1970; 0: never.",
    unit="seconds",
)
LEASES = Gauge(
    "cacheproxy_leases",
    "Windows of open chunks that responses in progress hold.",
)
HOT_FILES = Gauge(
    "cacheproxy_hot_files",
    "Open chunk files that workers keep for repeated hits.",
)
FLIGHTS = Gauge(
    "cacheproxy_flights",
    "Fills in progress.",
)
CONNECTIONS = Gauge(
    "cacheproxy_connections",
    "Open client connections.",
)
TIME_TO_FIRST_BYTE = Histogram(
    "cacheproxy_time_to_first_byte_seconds",
    "From a request for image data to the first byte of its answer.",
    unit="seconds",
    label="result",
    values=RESULTS,
)
FILL_DURATION = Histogram(
    "cacheproxy_fill_duration_seconds",
    "From the start of a fill to its end, by how it ended.",
    unit="seconds",
    label="result",
    values=FILL_RESULTS,
)

METRICS: Sequence[Metric] = tuple(_layout.metrics)

# What one reads for (metric, labels): the sum over all processes; of all label values where labels
# are empty; the number of observations of a histogram.
Total = Callable[[Metric, Labels], float]


@dataclass(frozen=True, slots=True)
class Term:
    """A metric, or one label value of it, in an equation."""

    metric: Metric
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class Equation:
    """What the counted figures satisfy whenever nothing is in progress."""

    left: Sequence[Term]
    relation: Literal["=", "<="]
    right: Sequence[Term]  # empty: zero

    def holds(self, total: Total) -> bool:
        """Tell whether the figures that `total` gives satisfy this."""
        left = sum(total(term.metric, term.labels) for term in self.left)
        right = sum(total(term.metric, term.labels) for term in self.right)
        return left == right if self.relation == "=" else left <= right

    def __str__(self) -> str:
        def side(terms: Sequence[Term]) -> str:
            names = [term.metric.name + "".join(f"{{{v}}}" for v in term.labels) for term in terms]
            return " + ".join(names) or "0"

        return f"{side(self.left)} {self.relation} {side(self.right)}"


EQUATIONS: Sequence[Equation] = (
    Equation([Term(FILE_REQUESTS)], "=", [Term(REQUESTS, (result,)) for result in RESULTS]),
    *(
        Equation([Term(TIME_TO_FIRST_BYTE, (result,))], "<=", [Term(REQUESTS, (result,))])
        for result in RESULTS
    ),
    Equation([Term(CACHE_BYTES), Term(RESERVED_BYTES)], "<=", [Term(CACHE_LIMIT_BYTES)]),
    Equation([Term(PINNED_BYTES)], "<=", [Term(CACHE_BYTES)]),
    Equation([Term(SCRUB_DAMAGED)], "<=", [Term(VERIFY_FAILURES), Term(CHUNKS_MISSING)]),
    Equation([Term(SCRUB_DAMAGED)], "<=", [Term(SCRUBBED_CHUNKS)]),
    Equation([Term(RESERVED_BYTES)], "=", []),
    Equation([Term(LEASES)], "=", []),
    Equation([Term(FLIGHTS)], "=", []),
)


class Meter:
    """One process's row: the only way to count.  Call it from the loop's thread only."""

    def __init__(self, board: Board, row: memoryview[float]) -> None:
        self._board = board
        self._row = row

    def inc(self, metric: Counter, amount: float = 1.0, *labels: str) -> None:
        """Add to a counter; KeyError for a label value that is not declared."""
        assert amount >= 0, f"{metric} cannot shrink"
        self._row[metric.cells[labels]] += amount

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        """Set this process's part of a gauge."""
        self._row[gauge.cells[labels]] = value

    def add(self, gauge: Gauge, delta: float, *labels: str) -> None:
        """Move this process's part of a gauge."""
        self._row[gauge.cells[labels]] += delta

    def observe(self, histogram: Histogram, seconds: float, *labels: str) -> None:
        """Count one duration."""
        first = histogram.cells[labels]
        self._row[first + bisect_left(histogram.bounds, seconds)] += 1
        self._row[first + histogram.cells_each - 1] += seconds

    def total(self, metric: Metric, *labels: str) -> float:
        """Return the figure of all processes together; of all label values where none is told."""
        return self._board.total(metric, labels)

    def render(self) -> bytes:
        """Print the figures of all processes together."""
        return self._board.render()


class Board:
    """The shared map: create it before forking, give each process the meter of its own row."""

    def __init__(self, cells: memoryview[float], rows: int) -> None:
        self._cells = cells
        self._rows = rows

    @classmethod
    def create(cls, rows: int) -> Board:
        """Return a board of `rows` processes, all zero."""
        memory = mmap.mmap(-1, rows * _layout.width * _CELL_BYTES)  # anonymous and shared
        return cls(memoryview(memory).cast("d"), rows)

    def meter(self, row: int) -> Meter:
        """Return the meter of a row; two processes must not write to the same."""
        return Meter(self, self._row(row))

    def zero_gauges(self, row: int) -> None:
        """Forget what a dead process held; call it only while nobody writes to the row."""
        cells = self._row(row)
        for metric in METRICS:
            if isinstance(metric, Gauge):
                for cell in metric.cells.values():
                    cells[cell] = 0.0

    def total(self, metric: Metric, labels: Labels = ()) -> float:
        """Return the figure of all processes, as `Total` says."""
        chosen = [metric.cells[labels]] if labels else list(metric.cells.values())
        counts = len(Histogram.bounds) + 1 if isinstance(metric, Histogram) else 1
        return sum(self._sum(first + i) for first in chosen for i in range(counts))

    def render(self) -> bytes:
        """Print all metrics in the Prometheus text format (version 0.0.4)."""
        registry = CollectorRegistry()
        registry.register(_Collector(self))
        return generate_latest(registry)

    def families(self) -> Iterator[Family]:
        """Read every metric once."""
        for metric in METRICS:
            match metric:
                case Histogram():
                    yield self._histogram(metric)
                case Counter():
                    counter = CounterMetricFamily(
                        metric.name, metric.help, labels=metric.label_names
                    )
                    for labels, cell in metric.cells.items():
                        value = self._sum(cell)
                        if value or not metric.sparse:
                            counter.add_metric(labels, value)
                    yield counter
                case _:
                    gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.label_names)
                    for labels, cell in metric.cells.items():
                        gauge.add_metric(labels, self._sum(cell))
                    yield gauge

    def _histogram(self, metric: Histogram) -> HistogramMetricFamily:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.label_names)
        names = [*map(str, map(float, metric.bounds)), "+Inf"]
        for labels, first in metric.cells.items():
            counts = itertools.accumulate(self._sum(first + i) for i in range(len(names)))
            duration = self._sum(first + metric.cells_each - 1)
            family.add_metric(labels, list(zip(names, counts, strict=True)), duration)
        return family

    def _row(self, row: int) -> memoryview[float]:
        if not 0 <= row < self._rows:
            raise IndexError(f"the board has {self._rows} rows, not {row + 1}")
        return self._cells[row * _layout.width : (row + 1) * _layout.width]

    def _sum(self, cell: int) -> float:
        return sum(self._cells[cell :: _layout.width])


class _Collector(Collector):
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Family]:
        return self._board.families()
