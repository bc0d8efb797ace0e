"""A Kafka broker for a test, on 127.0.0.1: librdkafka's mock cluster, in a process of its own.

What it cannot show: a broker that is restarted with its data on disk, or on another address (the mock keeps everything
in its process and chooses its port), failover between replicas, authentication, and time-based retention. It keeps
about 5 MB of each partition, and it makes a topic of four partitions when one is first produced to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

_PROGRAM = """
import sys
from confluent_kafka.admin import AdminClient
client = AdminClient({"test.mock.num.brokers": 1})
(broker,) = client.list_topics(timeout=30).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


class KafkaBroker:
    """A broker that can be suspended and continued, as one that hangs or is cut off.

    Attributes:
        servers: its address, host:port.
    """

    def __enter__(self) -> KafkaBroker:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([sys.executable, "-c", _PROGRAM], text=True, **pipes)
        assert self._process.stdout is not None
        self.servers = self._process.stdout.readline().strip()
        # It outlives the broker by a moment, and would complain of that.
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def suspend(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def make_topics(self, *topics: str) -> None:
        """Create topics; to the mock, a question of a producer is enough."""
        for topic in topics:
            self._producer.list_topics(topic, timeout=30)

    def produce(
        self,
        topic: str,
        records: Iterable[tuple[str | bytes | None, bytes | None]],
        *,
        partition: int | None = None,
        headers: dict[str, str | bytes | None] | None = None,
    ) -> None:
        """Produce keys and values, and wait until the broker has them."""
        where: dict[str, Any] = {} if partition is None else {"partition": partition}
        for key, value in records:
            while len(self._producer) > 50_000:
                self._producer.poll(0.1)
            self._producer.produce(topic, value, key, headers=headers, **where)
        assert self._producer.flush(60) == 0

    def records(self, topic: str) -> list[Message]:
        """Return all records of a topic, partition by partition."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "tests", "enable.partition.eof": True})
        partitions = list(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        found: list[Message] = []
        ends = 0
        while ends < len(partitions):
            for message in consumer.consume(1000, 0.1):
                if message.error() is None:
                    found.append(message)
                else:
                    ends += 1
        consumer.close()
        return sorted(found, key=lambda each: (each.partition() or 0, each.offset() or 0))

    def lag(self, group: str, topic: str) -> int:
        """Return the records of a topic that a group has not committed."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": group, "enable.auto.commit": False})
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        total = 0
        for position in consumer.committed([TopicPartition(topic, number) for number in partitions], timeout=30):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, position.partition), timeout=30)
            total += high - (position.offset if position.offset >= 0 else low)
        consumer.close()
        return total


def product_event(event: str, product_id: str, time: datetime, **columns: Any) -> tuple[str, bytes]:
    """Return key and value of an event; a product has a picture unless `columns` say otherwise."""
    product = {"product_id": product_id, "image_url": f"https://shop.example/{product_id}.jpg", **columns}
    value = {"event": event, "event_time": time.isoformat(), "product": product}
    return product_id, json.dumps(value).encode()
