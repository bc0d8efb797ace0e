"""Reads the events' topics and the retry topic as a member of a consumer group, and commits what was published.

Nothing is skipped unseen: a group that never committed a partition begins at its first record, and one whose committed
offset is no longer in the topic (retention was shorter than the outage) is an error for a person.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from artifacts.config import StreamConfig
from artifacts.errors import StreamFailed
from jobs.stream.kafka.errors import FORBIDDEN, RECONNECT_OPTIONS, REJECTED_COMMITS, check_options, error_of
from jobs.stream.kafka.partitions import Partition, PartitionEnd
from jobs.stream.kafka.records import Record

#: Seconds that the brokers have to answer a question.
ANSWER_SECONDS = 30
#: Records that one call of librdkafka returns, at most; so many of the retry topic may wait in memory per partition.
_CHUNK = 500


class EventConsumer:
    """A member of the consumer group. All methods belong to one thread; `read` or `keep_alive` must be called often.

    Args:
        warn: called with a line about something that a person may want to know and need not act on.
        clock: seconds since 1970.

    Attributes:
        generation: a number that grows when partitions are taken away; records read before belong to their new owner.
    """

    def __init__(
        self, config: StreamConfig, warn: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        check_options(config)
        self._config, self._warn, self._clock = config, warn, clock
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._early: deque[Message] = deque()  # arrived while the consumer was kept alive
        self._paused = False
        self._joined = False
        self._newly_assigned = False  # and therefore paused
        self.generation = 0
        own = {
            "bootstrap.servers": config.kafka_servers,
            "group.id": config.kafka_group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "error_cb": self._on_error,
        }
        preferred = {
            **RECONNECT_OPTIONS,
            "queued.max.messages.kbytes": 32_768,  # the default of 64 MB is as much as a whole batch may take
            "session.timeout.ms": 10_000,  # so long do its partitions wait for a process that was killed; default 45
        }
        try:
            self._consumer = Consumer({**preferred, **config.kafka_options, **own})
        except KafkaException as error:
            raise StreamFailed(f"kafka_options: {error_of(error).str()}") from None

    def open(self) -> None:
        """Join the group.

        Raises:
            StreamFailed: no broker answers, or a topic does not exist.
        """
        names = [*self._config.kafka_topics, self._config.kafka_retry_topic]
        for name in [*names, self._config.kafka_dead_letter_topic]:
            try:
                found = self._consumer.list_topics(name, timeout=ANSWER_SECONDS).topics[name]
            except KafkaException as error:
                raise StreamFailed(
                    f"no Kafka broker answers at {self._config.kafka_servers} (LOOKALIKE_KAFKA_SERVERS): "
                    f"{error_of(error).str()}"
                ) from None
            if found.error is not None:
                raise StreamFailed(f"topic {name!r} cannot be used: {found.error.str()}; create it first")
        self._consumer.subscribe(names, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def close(self) -> None:
        """Leave the group; what was not committed is read again by whichever member comes next."""
        self._consumer.close()

    def read(self, limit: int, seconds: float) -> list[Record | PartitionEnd]:
        """Return the next records that are due, and the ends of partitions that were reached.

        Args:
            limit: at most so many records, or one call's worth of retries more.
            seconds: how long to wait for the first.

        Raises:
            StreamFailed: the committed offset is gone, or the brokers forbid reading.
        """
        if self._newly_assigned:
            self.resume()
        generation = self.generation
        found: list[Record | PartitionEnd] = list(self._due_retries())
        messages, self._early = list(self._early), deque()
        messages += self._consumer.consume(max(1, min(limit, _CHUNK)), 0 if found or messages else seconds)
        if generation != self.generation:
            return []  # all of it belongs to the partitions' next owner; what is assigned now has not been read yet
        received = (self._receive(message) for message in messages)
        return found + [each for each in received if each is not None]

    def keep_alive(self, seconds: float = 0) -> None:
        """Stay a member of the group while nothing is read: call it at least every few seconds."""
        message = self._consumer.poll(seconds)
        if message is not None:
            self._early.append(message)

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        self._paused = True
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Read on; partitions with retries that are not due stay paused."""
        self._paused = self._newly_assigned = False
        ready = [key for key, partition in self._partitions.items() if not partition.waiting]
        self._consumer.resume([TopicPartition(*key) for key in ready])

    def commit(self, offsets: dict[tuple[str, int], int]) -> bool:
        """Commit offsets of this generation.

        Returns:
            Whether they were committed. False during a rebalance: the generation ends when `read` or `keep_alive` is
            called, and the records are then read again by their owner.

        Raises:
            KafkaException: the brokers did not answer, or do not allow it.
        """
        positions = [TopicPartition(*key, offset) for key, offset in offsets.items() if key in self._partitions]
        if not positions:
            return True
        try:
            results = self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            if error_of(error).code() in REJECTED_COMMITS:
                return False
            raise
        for result in results or []:
            if result.error is not None:
                if result.error.code() in REJECTED_COMMITS:
                    return False
                raise KafkaException(result.error)
        for key, offset in offsets.items():
            if key in self._partitions:
                self._partitions[key].committed = offset
        return True

    def measure_ends(self) -> None:
        """Learn the end of every assigned partition; keep what is known where the brokers do not answer.

        They are asked only while the consumer is paused: a question would wait behind each fetch, which waits for
        records itself. While it reads, every fetch tells the ends anyway.

        Raises:
            StreamFailed: records are gone that had not been read.
        """
        cached = not (self._paused or self._newly_assigned)
        for key, partition in self._partitions.items():
            try:
                low, high = self._consumer.get_watermark_offsets(TopicPartition(*key), timeout=5, cached=cached)
            except KafkaException as error:
                self._warn(f"the end of {key[0]} [{key[1]}] is unknown: {error_of(error).str()}")
                return
            if high < 0:  # not known yet
                continue
            if partition.position < low and not partition.waiting:
                if partition.position or not partition.is_new:
                    raise self._lost(key, partition)
                partition.position = low
            partition.committed = max(partition.committed, low)
            partition.end = max(partition.end, high)
            if partition.target is None:
                partition.target = high

    @property
    def lags(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> records that are not committed, of the assigned partitions."""
        return {key: partition.lag for key, partition in self._partitions.items()}

    def is_caught_up(self) -> bool:
        """Whether all that the assigned partitions held when they were assigned has been returned by `read`."""
        if self._joined and any(partition.target is None for partition in self._partitions.values()):
            self.measure_ends()
        return self._joined and all(partition.is_caught_up() for partition in self._partitions.values())

    # ── what librdkafka returns ──────────────────────────────────────────────────────────────────────────────────────

    def _receive(self, message: Message) -> Record | PartitionEnd | None:
        error = message.error()
        key = message.topic() or "", _number(message.partition())
        partition = self._partitions.get(key)
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            self._handle(error, key, partition)
            return None
        if partition is None:  # taken away in the meantime
            return None
        offset = _number(message.offset())
        if error is not None:
            partition.end = max(partition.end, offset)
            partition.target = offset if partition.target is None else min(partition.target, offset)
            if partition.waiting:
                return None
            if partition.committed == partition.position:
                partition.committed = offset
            partition.position = offset
            return PartitionEnd(*key, offset)
        partition.end = max(partition.end, offset + 1)
        record = Record.of(message)
        is_retry = key[0] == self._config.kafka_retry_topic
        if is_retry and (partition.waiting or record.not_before > self._clock()):
            if not partition.waiting:
                self._consumer.pause([TopicPartition(*key)])
            partition.waiting.append(record)
            return None
        partition.position = offset + 1
        return record

    def _due_retries(self) -> list[Record]:
        """Return retries that are due, and read their partitions on."""
        due: list[Record] = []
        for key, partition in self._partitions.items():
            if not partition.waiting:
                continue
            released = partition.release_due(self._clock())
            if released:
                partition.position = released[-1].offset + 1
            due += released
            if not partition.waiting and not self._paused:
                self._consumer.resume([TopicPartition(*key)])
        return due

    def _handle(self, error: KafkaError, key: tuple[str, int], partition: Partition | None) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            if partition is not None:
                raise self._lost(key, partition)
        elif error.fatal() or error.code() in FORBIDDEN:
            raise StreamFailed(f"{key[0]} [{key[1]}] cannot be read: {error.str()}")
        self._on_error(error)

    def _lost(self, key: tuple[str, int], partition: Partition) -> StreamFailed:
        return StreamFailed(
            f"{key[0]} [{key[1]}]: offset {partition.position} is no longer in the topic, so events were lost: bring "
            "the release up to date from the whole catalog, then move the offsets of group "
            f"{self._config.kafka_group!r} to the earliest ones with Kafka's own tool"
        )

    def _on_error(self, error: KafkaError) -> None:
        """Report an error that librdkafka recovers from by itself, such as a broker that is being restarted."""
        self._warn(f"Kafka: {error.str()}")

    # ── rebalances ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._joined = True
        try:
            positions = consumer.committed(assigned, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise StreamFailed(f"the committed offsets cannot be read: {error_of(error).str()}") from None
        for position in positions:
            if position.error is not None:
                raise StreamFailed(f"the committed offset of {position} cannot be read: {position.error.str()}")
            is_new = position.offset < 0
            offset = 0 if is_new else position.offset
            partition = Partition(position.topic, position.partition, offset, offset, is_new)
            self._partitions[position.topic, position.partition] = partition
        starts = [
            TopicPartition(*key, OFFSET_BEGINNING if partition.is_new else partition.position)
            for key, partition in self._partitions.items()
        ]
        consumer.assign(starts)
        consumer.pause(starts)  # until the next `read`, which tells these records from those read before
        self._newly_assigned = True

    def _on_revoke(self, _: Consumer, __: list[TopicPartition]) -> None:
        # The assignors of this consumer take all partitions away before they assign others.
        self.generation += 1
        self._partitions.clear()
        self._early.clear()


def _number(value: int | None) -> int:
    return -1 if value is None else value
