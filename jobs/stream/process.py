"""The loop of the stream: read a batch, apply it, send on what failed, commit.

    read ──► batch ──► apply and publish ──► retries, dead letters ──► commit ──► read …

A batch's offsets are committed when its release is published and its failures are stored, so a process that dies
anywhere before has lost nothing: the batch is read and applied again, which changes nothing the second time.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from confluent_kafka import KafkaException

from artifacts.config import StreamConfig
from artifacts.errors import LookalikeError, StreamFailed
from jobs.stream.applying import Applier
from jobs.stream.batch import Batch
from jobs.stream.failures import Failures, sort_failures
from jobs.stream.kafka.consumer import EventConsumer
from jobs.stream.kafka.errors import error_of, is_transient
from jobs.stream.kafka.partitions import PartitionEnd
from jobs.stream.metrics import StreamMetrics
from jobs.stream.outbox import Outbox
from jobs.stream.report import StreamReport
from jobs.stream.sink import AppliedChanges, Apply

#: Longest wait for records; a signal is noticed after it.
_READ_SECONDS = 0.5
#: Seconds between two measurements of the lag while nothing is applied.
_LAG_SECONDS = 15.0
#: Seconds without a record or a partition's end after which a bounded run gives up. It covers the time after which a
#: group does without a member that died.
STALLED_SECONDS = 300.0


def run_stream(
    config: StreamConfig,
    apply: Apply,
    *,
    until_caught_up: bool = False,
    stop: threading.Event | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> StreamReport:
    """Bring events to the refresh path until `stop` is set, or until all is read that is in the topics now.

    Args:
        apply: the refresh path; see `jobs.stream.sink`.
        until_caught_up: end when everything that the topics held at the beginning is published; retries that are not
            due by then are left to a later run.
        stop: set it to end the run: a batch that is being applied is finished and committed, records that were only
            read are left to the next run.
        log: called with a line for each batch, and for what a person may want to know.

    Returns:
        The totals.

    Raises:
        StreamFailed: events were lost, the brokers do not answer, or a setting is wrong.
        LookalikeError: of the refresh path, after several tries; the batch is not committed.
    """
    return _Stream(config, apply, until_caught_up, stop or threading.Event(), log).run()


class _Stream:
    """One run."""

    def __init__(
        self,
        config: StreamConfig,
        apply: Apply,
        until_caught_up: bool,
        stop: threading.Event,
        log: Callable[[str], None],
    ) -> None:
        self._config, self._until_caught_up, self._stop, self._log = config, until_caught_up, stop, log
        self._metrics = StreamMetrics()
        self._report = StreamReport()
        self._consumer = EventConsumer(config, self._warn)
        self._outbox = Outbox(config, self._consumer.keep_alive)
        self._applier = Applier(apply, self._consumer.keep_alive, self._warn)
        self._measured_at = self._heard_at = time.monotonic()

    def run(self) -> StreamReport:
        began = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(closing(self._consumer))
            stack.enter_context(closing(self._outbox))
            stack.enter_context(closing(self._applier))
            if self._config.stream_metrics_port:
                stack.callback(self._metrics.serve(self._config.stream_metrics_host, self._config.stream_metrics_port))
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookalike-stream-")))
            self._consumer.open()
            while not self._stop.is_set() and not self._report.caught_up:
                batch, generation = self._collect()
                if batch.received and not self._stop.is_set():
                    committed = self._process(batch, generation, scratch / "changes.jsonl")
                    self._report.caught_up = self._report.caught_up and committed
            self._measure_lag()
        self._report.seconds = time.monotonic() - began
        self._log(self._report.describe())
        return self._report

    def _collect(self) -> tuple[Batch, int]:
        """Return the next batch that is due, and the consumer's generation that read it.

        It may be empty if there is nothing left to read, or before its time if the run is to end.
        """
        batch, generation = Batch(self._config), self._consumer.generation
        while not self._stop.is_set() and not batch.is_due:
            for received in self._consumer.read(batch.room, _READ_SECONDS):
                self._heard_at = time.monotonic()
                if isinstance(received, PartitionEnd):
                    batch.reach(received.topic, received.partition, received.offset)
                else:
                    batch.add(received)
            if generation != self._consumer.generation:  # what was read belongs to the partitions' next owners
                batch, generation = Batch(self._config), self._consumer.generation
            if self._until_caught_up and self._consumer.is_caught_up():
                self._report.caught_up = True
                break
            self._refuse_silence()
            if time.monotonic() - self._measured_at >= _LAG_SECONDS:
                self._measure_lag()
        return batch, generation

    def _refuse_silence(self) -> None:
        silence = time.monotonic() - self._heard_at
        if self._until_caught_up and silence > STALLED_SECONDS:
            raise StreamFailed(
                f"no record came for {silence:,.0f} s and the topics are not read to their end: see whether the "
                f"brokers at {self._config.kafka_servers} work"
            )

    def _process(self, batch: Batch, generation: int, path: Path) -> bool:
        """Apply a batch, store its failures, and commit it.

        Returns:
            Whether it was committed; not if its partitions were taken away in the meantime.
        """
        began = time.monotonic()

        def is_abandoned() -> bool:
            return self._stop.is_set() or generation != self._consumer.generation

        self._consumer.pause()
        applied: AppliedChanges | None = None
        if batch.events:
            batch.write(path)
            try:
                applied = self._applier.run(path, is_abandoned)
            except LookalikeError:
                self._metrics.batches.labels("failed").inc()
                raise
            if applied is None:
                return self._abandon("it was not published")
        failures = sort_failures(batch, applied, self._config, time.time()) if applied else Failures()
        if generation == self._consumer.generation:
            self._outbox.send(failures.retries, [*batch.dead_letters, *failures.dead_letters])
        if not self._commit(batch, generation):
            return self._abandon("it was published, and its events will be read once more")
        seconds = time.monotonic() - began
        self._metrics.count_batch(batch, failures, applied.stale if applied else 0, seconds)
        line = self._report.add(batch, applied, failures)
        self._measure_lag()
        version = f" in {applied.version}" if applied else ""
        self._log(f"{line}{version}, {seconds:.1f} s; {self._report.lag:,} records wait")
        self._heard_at = time.monotonic()
        self._consumer.resume()
        return True

    def _commit(self, batch: Batch, generation: int) -> bool:
        """Commit a batch's offsets; wait for brokers that are away, and for the end of a rebalance.

        Returns:
            Whether it was committed. If not, the run ends, or its partitions are read again from where they were
            committed: they are never read on behind records that were not.
        """
        began = time.monotonic()
        while generation == self._consumer.generation:
            why, passes = "the group is being rebalanced", True
            try:
                if self._consumer.commit(batch.offsets):
                    return True
            except KafkaException as exception:
                error = error_of(exception)
                why, passes = error.str(), is_transient(error)
            if not passes or (self._until_caught_up and time.monotonic() - began > STALLED_SECONDS):
                raise StreamFailed(f"offsets cannot be committed: {why}")
            self._warn(f"offsets are committed later: {why}")
            if self._stop.is_set():
                return False
            self._consumer.keep_alive(1.0)
        return False

    def _abandon(self, why: str) -> bool:
        """Go on without committing a batch; return False."""
        self._metrics.batches.labels("abandoned").inc()
        self._report.abandoned += 1
        self._log(f"a batch was not committed: {why}")
        self._consumer.resume()
        return False

    def _measure_lag(self) -> None:
        self._consumer.measure_ends()
        lags = self._consumer.lags
        self._metrics.set_lags(lags, self._config.kafka_retry_topic)
        self._report.lag = sum(lags.values())
        self._measured_at = time.monotonic()

    def _warn(self, line: str) -> None:
        self._metrics.kafka_warnings.inc()
        self._log(line)
