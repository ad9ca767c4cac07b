"""What the stores and the jobs did, in figures for Prometheus; where a store fails, in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from backends.errors import DeniedError, StoreError, UnavailableError
from backends.watching import outcome
from registry.service.jobs import Jobs

LOG = logging.getLogger(__name__)

DOWN_AFTER = 3  # attempts that failed in a row: one operation's are enough
SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0)  # of an operation, whole


class StoreMetrics:
    """The figures of all stores; every attempt counts, also those that are made again.

    And what else there is to tell of this process.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.operations = Counter(
            "cacheproxy_registry_store_operations",
            "Attempts at an operation (stat, read, create, delete, clear), by how they ended: ok, or the "
            "kind of the store's error.",
            ("store", "operation", "outcome"),
            registry=self._registry,
        )
        self.bytes = Counter(
            "cacheproxy_registry_store_bytes",
            "Bytes that came from the store (read) or went to it (create), as they move.",
            ("store", "operation"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "cacheproxy_registry_store_seconds",
            "Seconds that the store took for an attempt, without what clients took between two "
            "pieces.",
            ("store", "operation"),
            buckets=SECONDS,
            registry=self._registry,
        )

        self.dead_uploads = Counter(
            "cacheproxy_registry_dead_uploads",
            "Uploads whose process died, by what came of it: cleared, when what they had left in the "
            "store is gone and the image may be uploaded to again, or failed, to be tried again.",
            ("store", "outcome"),
            registry=self._registry,
        )

        self.notifications = Counter(
            "cacheproxy_registry_notifications",
            "What others were to be told of images, by what became of it: sent (given to "
            "oslo.messaging), failed, or dropped because too much waited already.",
            ("outcome",),
            registry=self._registry,
        )

    def notification(self, outcome: str) -> None:
        """Count something that others were to be told; from any thread."""
        self.notifications.labels(outcome).inc()

    def watch(self, jobs: Jobs) -> None:
        """Tell of jobs, too, as they are when somebody asks."""
        self._registry.register(JobCollector(jobs))

    def dead_upload(self, store: str, outcome: str) -> None:
        """Count an upload whose process died."""
        self.dead_uploads.labels(store, outcome).inc()

    def observer(self, store: str) -> StoreObserver:
        """Return who is to hear of a store's operations."""
        return StoreObserver(store, self)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the figures in the form that a client accepts, and that form's media type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class StoreObserver:
    """Hears of one store's operations: `backends.watching.Observer`.

    That a store does not answer, and that it does again, is logged once.
    """

    def __init__(self, store: str, metrics: StoreMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self._failures = 0  # in a row

    def moved(self, operation: str, count: int) -> None:
        """Count bytes."""
        self._metrics.bytes.labels(self._store, operation).inc(count)

    def ended(self, operation: str, seconds: float, moved: int, error: StoreError | None) -> None:
        """Count an operation."""
        del moved  # counted already
        self._metrics.operations.labels(self._store, operation, outcome(error)).inc()
        self._metrics.seconds.labels(self._store, operation).observe(seconds)
        if isinstance(error, (UnavailableError, DeniedError)):
            self._failures += 1
            if self._failures == DOWN_AFTER:
                LOG.error("the store %s does not serve: %s", self._store, error)
        elif error is None:
            if self._failures >= DOWN_AFTER:
                LOG.info("the store %s serves again", self._store)
            self._failures = 0


class JobCollector(Collector):
    """The figures of durable jobs: those of this instance, and what waits for any."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def describe(self) -> list[Metric]:
        """Tell of nothing before somebody asks."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return them as they are now."""
        ended = CounterMetricFamily(
            "cacheproxy_registry_jobs",
            "Attempts of this instance at jobs, by what came of them: done, later (it cannot be done "
            "yet), failed (it is tried again, or given up), lost (to others, or to time); and given_up.",
            labels=("kind", "outcome"),
        )
        for labels, count in self._jobs.outcomes.items():
            ended.add_metric(labels, count)
        yield ended
        running = GaugeMetricFamily(
            "cacheproxy_registry_jobs_running",
            "Jobs that this instance does now.",
            labels=("kind",),
        )
        for kind, count in self._jobs.running.items():
            running.add_metric((kind,), count)
        yield running
        due = GaugeMetricFamily(
            "cacheproxy_registry_jobs_due",
            "Jobs in the database that could be done and that no instance does, seconds ago.",
            labels=("kind",),
        )
        waited = GaugeMetricFamily(
            "cacheproxy_registry_jobs_due_seconds",
            "For how many seconds the first of these has been due.",
            labels=("kind",),
        )
        given_up = GaugeMetricFamily(
            "cacheproxy_registry_jobs_given_up",
            "Jobs in the database that were given up, and that nobody has forgotten yet.",
            labels=("kind",),
        )
        for backlog in self._jobs.backlogs:
            due.add_metric((backlog.kind,), backlog.due)
            waited.add_metric((backlog.kind,), backlog.seconds)
            given_up.add_metric((backlog.kind,), backlog.given_up)
        yield from (due, waited, given_up)
