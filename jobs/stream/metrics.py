"""The stream's Prometheus metrics, served on a port of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from artifacts.errors import StreamFailed
from jobs.stream.batch import Batch
from jobs.stream.failures import Failures

_PREFIX = "lookalike_stream_"


class StreamMetrics:
    """The metrics of one stream.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._waiting = False  # whether events wait
        self._last_event = clock()  # until an event is searchable, the start
        self._fresh_at = clock()  # when none waited

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(_PREFIX + name, text, labels, registry=self.registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(_PREFIX + name, text, labels, registry=self.registry)

        self.events = counter("events", "Events by what became of them.", ("event", "outcome"))
        self.stale = counter("stale", "Applied events that were older than what the release knew.")
        self.batches = counter("batches", "Batches by their outcome.", ("outcome",))
        self.kafka_warnings = counter("warnings", "Errors that the stream recovered from.")
        self.lag = gauge("lag", "Records that are not committed.", ("topic", "partition"))
        freshness = gauge("freshness_seconds", "Time for which events wait; 0 while none does.")
        freshness.set_function(self._freshness)
        last = gauge("last_event_seconds", "Unix time of the newest searchable event; the start before the first.")
        last.set_function(lambda: self._last_event)
        self.searchable = Histogram(
            _PREFIX + "searchable_seconds",
            "Time from an event to the release that holds it.",
            buckets=[1, 5, 10, 15, 30, 60, 120, 300, 900, 3600],
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            _PREFIX + "batch_seconds",
            "Time to apply and publish a batch.",
            buckets=[0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 900],
            registry=self.registry,
        )

    def _freshness(self) -> float:
        # All that happened before the newest searchable event, or before a moment when none waited, is searchable.
        return max(0.0, self._clock() - max(self._last_event, self._fresh_at)) if self._waiting else 0.0

    def set_lags(self, lags: Mapping[tuple[str, int], int], retry_topic: str) -> None:
        """Record the lag of each assigned partition; those of partitions that were taken away are removed.

        Args:
            retry_topic: its records wait on purpose.
        """
        self.lag.clear()
        for (topic, partition), lag in lags.items():
            self.lag.labels(topic, partition).set(lag)
        self._waiting = any(lag for (topic, _), lag in lags.items() if topic != retry_topic)
        if not self._waiting:
            self._fresh_at = self._clock()

    def count_batch(self, batch: Batch, failures: Failures, stale: int, seconds: float) -> None:
        """Record a batch that has been published and committed.

        Args:
            stale: events that the refresh path found to be older than the release.
            seconds: time to apply and publish it.
        """
        for kind, count in batch.superseded.items():
            self.events.labels(kind, "superseded").inc(count)
        self.events.labels("unknown", "dead_letter").inc(len(batch.dead_letters))
        now = self._clock()
        for event in batch.events.values():
            outcome = failures.outcomes.get(event.product_id, "applied")
            self.events.labels(event.kind, outcome).inc()
            if outcome in ("applied", "inactive"):
                self.searchable.observe(max(0.0, now - event.time.timestamp()))
                self._last_event = max(self._last_event, event.time.timestamp())
        self.stale.inc(stale)
        self.batches.labels("published").inc()
        self.batch_seconds.observe(seconds)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve the metrics in a thread, at any path.

        Returns:
            A function that ends this.

        Raises:
            StreamFailed: the port cannot be used.
        """
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise StreamFailed(f"stream_metrics_port: {host}:{port} cannot be used: {error}") from None

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return close
