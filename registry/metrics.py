"""What the stores did, in figures for Prometheus and, where one fails, in the log."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder

from backends.errors import DeniedError, StoreError, UnavailableError
from backends.watching import outcome

LOG = logging.getLogger(__name__)

DOWN_AFTER = 3  # attempts that failed in a row: one operation's are enough
SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0)  # of an operation, whole


class StoreMetrics:
    """The figures of all stores; every attempt counts, also those that are made again."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.operations = Counter(
            "cacheproxy_registry_store_operations",
            "Attempts at an operation (stat, read, create, delete), by how they ended: ok, or the "
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
