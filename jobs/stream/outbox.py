"""Produces events to the retry topic and to the dead-letter topic, and waits until the brokers have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, Message, Producer

from artifacts.config import StreamConfig
from artifacts.errors import StreamFailed
from jobs.stream.batch import DeadLetter
from jobs.stream.failures import Retry
from jobs.stream.kafka.errors import RECONNECT_OPTIONS
from jobs.stream.kafka.records import Headers, Record, failure_headers

#: Records that wait in the producer's own queue before `send` waits for the brokers.
_FULL = 10_000


class Outbox:
    """A producer for events that failed.

    Args:
        keep_alive: called again and again while `send` waits.
    """

    def __init__(self, config: StreamConfig, keep_alive: Callable[[], None]) -> None:
        self._retry_topic, self._dead_letter_topic = config.kafka_retry_topic, config.kafka_dead_letter_topic
        self._keep_alive = keep_alive
        self._problem: KafkaError | None = None
        own = {"bootstrap.servers": config.kafka_servers, "enable.idempotence": True}
        self._producer = Producer({**RECONNECT_OPTIONS, "compression.type": "zstd", **config.kafka_options, **own})

    def close(self) -> None:
        """Give up what is not stored: its batch is not committed, so it will be sent again."""
        self._producer.purge()
        self._producer.close()

    def send(self, retries: Sequence[Retry], dead_letters: Sequence[DeadLetter]) -> None:
        """Produce all of them; return when the brokers have stored them.

        Raises:
            StreamFailed: they have not: some may be stored, and sending them again stores them twice.
        """
        self._problem = None
        for retry in retries:
            headers = failure_headers(
                retry.event.record, retry.reason, retry.detail, attempt=retry.attempt, not_before=retry.not_before
            )
            # The key puts all tries of a product into one partition.
            self._produce(self._retry_topic, retry.event.record, retry.event.product_id.encode(), headers)
        for letter in dead_letters:
            headers = failure_headers(letter.record, letter.reason, letter.detail, attempt=letter.record.attempt)
            self._produce(self._dead_letter_topic, letter.record, letter.record.key, headers)
        while self._producer.flush(0.2):
            self._keep_alive()
        if self._problem is not None:
            raise StreamFailed(f"events that failed could not be stored in Kafka: {self._problem.str()}")

    def _produce(self, topic: str, record: Record, key: bytes | None, headers: Headers) -> None:
        while len(self._producer) >= _FULL:
            self._producer.poll(0.2)
            self._keep_alive()
        self._producer.produce(topic, record.value, record.key or key, headers=headers, on_delivery=self._delivered)
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._problem = error or self._problem
