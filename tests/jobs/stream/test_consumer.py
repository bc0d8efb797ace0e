"""What a consumer returns for what librdkafka delivers, where the tests' broker cannot: gaps and markers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from artifacts.config import StreamConfig
from jobs.stream.kafka import consumer as module
from jobs.stream.kafka.consumer import EventConsumer
from jobs.stream.kafka.partitions import PartitionEnd

CONFIG = StreamConfig("nowhere", ("events",))


class Library:
    """librdkafka's consumer, as far as EventConsumer uses it: `begin` and `messages` say what it hands over."""

    def __init__(self) -> None:
        self.high = 0
        self.messages: list[Message] = []
        self.on_assign: Callable[..., None] = lambda *_: None

    def list_topics(self, name: str, timeout: float) -> Any:
        topic = type("Topic", (), {"error": None})
        return type("Metadata", (), {"topics": {name: topic}})

    def subscribe(self, _: list[str], *, on_assign: Callable[..., None], **__: Any) -> None:
        self.on_assign = on_assign

    def committed(self, assigned: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return assigned

    def get_watermark_offsets(self, _: TopicPartition, **__: Any) -> tuple[int, int]:
        return 0, self.high

    def consume(self, *_: Any) -> list[Message]:
        messages, self.messages = self.messages, []
        return messages

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        return offsets

    def assign(self, _: list[TopicPartition]) -> None: ...
    def pause(self, _: list[TopicPartition]) -> None: ...
    def resume(self, _: list[TopicPartition]) -> None: ...

    def begin(self, committed: int) -> None:
        """Assign a partition of which so much is committed."""
        self.on_assign(self, [TopicPartition("events", 0, committed)])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> tuple[EventConsumer, Library]:
    library = Library()
    monkeypatch.setattr(module, "Consumer", lambda _: library)
    consumer = EventConsumer(CONFIG, lambda _: None)
    consumer.open()
    return consumer, library


def message(offset: int) -> Message:
    return Message(topic="events", partition=0, offset=offset, key=b"k", value=b"{}")


def end(offset: int) -> Message:
    return Message(topic="events", partition=0, offset=offset, error=KafkaError(KafkaError._PARTITION_EOF))


def test_gaps_and_markers_at_the_end_leave_no_lag(opened: tuple[EventConsumer, Library]) -> None:
    consumer, library = opened
    library.begin(5)
    library.high = 12  # 5 and 8 are records, 6, 7 and 9 were compacted, 10 and 11 are markers of transactions
    consumer.measure_ends()
    library.messages = [message(5), message(8)]
    assert [each.offset for each in consumer.read(10, 0)] == [5, 8]
    assert not consumer.is_caught_up()
    assert consumer.commit({("events", 0): 9})
    library.messages = [end(12)]
    assert consumer.read(10, 0) == [PartitionEnd("events", 0, 12)]
    assert consumer.is_caught_up()
    assert consumer.lags == {("events", 0): 0}


def test_transaction_that_is_open_does_not_hold_a_bounded_run(opened: tuple[EventConsumer, Library]) -> None:
    consumer, library = opened
    library.begin(0)
    library.high = 9
    consumer.measure_ends()
    library.messages = [message(0), end(4)]  # from 4 on nothing is committed by its producer
    consumer.read(10, 0)
    assert consumer.is_caught_up()
