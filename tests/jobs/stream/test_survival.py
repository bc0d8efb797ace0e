"""The stream as a process: killed at every point, asked to end, joined by a second member, cut off from its broker."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.jobs.stream.conftest import Stream
from tests.jobs.stream.recorder import Recorder
from tests.kafka import product_event
from tests.waiting import wait_until

pytestmark = pytest.mark.kafka

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRODUCTS = 40
#: A batch is applied and published by `apply`, its failures are sent by `outbox`, and its offsets by `commit`.
CRASH_POINTS = ["before apply", "after apply", "before outbox", "after outbox", "before commit", "after commit"]


def produce_shuffled(stream: Stream, events: int = 400, first: int = 0) -> dict[str, int]:
    """Produce events of a few products in any order; return the number of each product's last one, by event time."""
    numbers = list(range(first, first + events))
    random.Random(first).shuffle(numbers)
    last: dict[str, int] = {}
    records = []
    for number in numbers:
        product = f"p{number % PRODUCTS}"
        last[product] = max(last.get(product, 0), number)
        time = NOON + timedelta(seconds=number)
        records.append(product_event("product_updated", product, time, number=number))
    stream.broker.produce(stream.topic, records)
    return last


def numbers_of(recorder: Recorder) -> dict[str, int]:
    return {key: row["number"] for key, row in recorder.products.items()}


def test_kill_at_any_point_loses_nothing_and_doubles_nothing(new_stream: Callable[[], Stream]) -> None:
    streams = {point: new_stream() for point in CRASH_POINTS}
    expected = {point: produce_shuffled(stream) for point, stream in streams.items()}
    for stream in streams.values():
        bad = product_event("product_created", "bad", NOON, price=-1)
        stream.broker.produce(stream.topic, [bad, ("broken", b"{")])
    killed = {point: stream.start(point=point, stream_batch_events=100) for point, stream in streams.items()}
    for process in killed.values():
        assert process.wait(60) == -signal.SIGKILL
    assert all(stream.lag for stream in streams.values())  # each had more than one batch to do

    again = {point: stream.start(stream_batch_events=100) for point, stream in streams.items()}
    for point, process in again.items():
        assert process.wait(60) == 0, streams[point].log
        stream = streams[point]
        assert numbers_of(stream.recorder) == expected[point], point
        assert stream.lag == 0
        # A dead letter may be stored twice, and none is missing; what tells them apart is where they come from.
        dead = stream.broker.records(stream.config.kafka_dead_letter_topic)
        assert {each.key() for each in dead} == {b"bad", b"broken"}, point


def test_sigterm_abandons_what_was_only_read_and_finishes_what_is_applied(new_stream: Callable[[], Stream]) -> None:
    reading, applying = new_stream(), new_stream()
    expected = produce_shuffled(applying, 50)
    produce_shuffled(reading, 50)
    (applying.folder / "wait").touch()
    processes = [reading.start("endless", stream_batch_seconds=3600), applying.start("endless")]
    wait_until(lambda: applying.recorder.calls)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert processes[0].wait(30) == 0
    assert processes[1].poll() is None  # still at work
    (applying.folder / "wait").unlink()
    assert processes[1].wait(30) == 0, applying.log
    assert (reading.recorder.calls, reading.lag) == ([], 50)
    assert (numbers_of(applying.recorder), applying.lag) == (expected, 0)


def test_batch_whose_partitions_were_taken_away_is_read_by_their_owner(stream: Stream) -> None:
    first = produce_shuffled(stream)
    (stream.folder / "wait").touch()
    holder = stream.start("endless")
    wait_until(lambda: stream.recorder.calls)
    # A second member joins while the first applies its batch. Each of them gets a part of the partitions.
    second = stream.start("endless")
    wait_until(lambda: len(stream.recorder.calls) >= 2)
    assert stream.lag == 400
    (stream.folder / "wait").unlink()
    expected = first | produce_shuffled(stream, first=400)
    wait_until(lambda: stream.lag == 0 and numbers_of(stream.recorder) == expected)
    for process in (holder, second):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "a batch was not committed" in stream.log


def test_broker_that_hangs_for_a_while_costs_nothing(stream: Stream) -> None:
    first = produce_shuffled(stream)
    (stream.folder / "wait").touch()
    process = stream.start("endless", kafka_options='{"session.timeout.ms": "6000", "socket.timeout.ms": "2000"}')
    wait_until(lambda: stream.recorder.calls)
    stream.broker.suspend()
    try:
        (stream.folder / "wait").unlink()
        wait_until(lambda: stream.recorder.products)  # published, and cannot be committed now
        with pytest.raises(AssertionError):
            wait_until(lambda: process.poll() is not None, seconds=5)
    finally:
        stream.broker.resume()
    expected = first | produce_shuffled(stream, first=400)
    wait_until(lambda: stream.lag == 0 and numbers_of(stream.recorder) == expected)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
