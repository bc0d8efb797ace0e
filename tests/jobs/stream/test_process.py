"""The stream against a broker: order, retries, dead letters, and what it commits when."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from artifacts.config import StreamConfig
from artifacts.errors import GateFailed, PublishConflict, StreamFailed
from jobs.stream.kafka.consumer import EventConsumer
from jobs.stream.process import run_stream
from jobs.stream.report import StreamReport
from jobs.stream.sink import AppliedChanges, Apply
from tests.jobs.stream.conftest import Stream
from tests.kafka import product_event
from tests.waiting import wait_until

pytestmark = pytest.mark.kafka

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@contextmanager
def running(config: StreamConfig, apply: Apply) -> Iterator[list[str]]:
    """Run a stream in a thread while the block runs; yield the lines that it logs."""
    stop, lines = threading.Event(), list[str]()
    thread = threading.Thread(target=run_stream, args=(config, apply), kwargs={"stop": stop, "log": lines.append})
    thread.start()
    try:
        yield lines
    finally:
        stop.set()
        thread.join()


def run(stream: Stream, **values: Any) -> StreamReport:
    return run_stream(stream.changed(**values), stream.recorder.apply, until_caught_up=True)


def headers_of(message: Any) -> dict[str, str]:
    return {name.removeprefix("lookalike-"): value.decode() for name, value in message.headers() or []}


def test_last_event_time_wins_in_whatever_order_events_arrive(stream: Stream) -> None:
    created = product_event("product_created", "a", at(0), title="first")
    stream.broker.produce(
        stream.topic,
        [
            created,
            product_event("product_updated", "a", at(20), title="last"),
            product_event("product_updated", "a", at(10), title="late"),
            product_event("product_created", "b", at(0)),
            product_event("product_deleted", "b", at(5)),
            product_event("product_created", "c", at(7), title="one"),
            product_event("product_updated", "c", at(7), title="two, at the same time"),
            product_event("product_created", "d", at(0)),
            ("d", None),
        ],
    )
    report = run(stream)
    assert {key: row["title"] for key, row in stream.recorder.products.items()} == {
        "a": "last",
        "c": "two, at the same time",
    }
    assert report.caught_up
    assert (report.records, report.superseded, report.applied, report.lag) == (9, 5, 4, 0)

    # A second run finds nothing to do; an event that was older than what is known comes in a batch of its own.
    calls = len(stream.recorder.calls)
    assert run(stream).records == 0
    assert len(stream.recorder.calls) == calls
    stream.broker.produce(stream.topic, [created])
    assert run(stream).stale == 1
    assert stream.recorder.products["a"]["title"] == "last"
    assert stream.lag == 0


def test_records_that_are_no_events_become_dead_letters(stream: Stream) -> None:
    records = [
        ("a", b"\xff{}"),
        ("b", b"{"),
        ("c", json.dumps({"event": "price_changed", "event_time": at(0).isoformat(), "product": {}}).encode()),
        product_event("product_created", "d", datetime.now(UTC) + timedelta(days=1)),
        (None, None),
        product_event("product_created", "good", at(0)),
    ]
    stream.broker.produce(stream.topic, records, headers={"trace": b"7"})
    report = run(stream)
    assert (report.records, report.applied, report.dead_letters) == (6, 1, 5)
    dead = stream.broker.records(stream.config.kafka_dead_letter_topic)
    sources = {(each.partition(), each.offset()): each for each in stream.broker.records(stream.topic)}
    reasons = set()
    for letter in dead:
        headers = headers_of(letter)
        source = sources[int(headers["partition"]), int(headers["offset"])]
        assert (letter.key(), letter.value()) == (source.key(), source.value())
        assert headers["topic"] == stream.topic
        assert headers["timestamp"] == str(source.timestamp()[1])
        assert headers["trace"] == "7"
        assert headers["detail"]
        reasons.add(headers["reason"])
    assert reasons == {"unreadable_event", "invalid_event", "future_event_time", "missing_product_id"}


def test_rejects_become_dead_letters_and_inactive_products_do_not(stream: Stream) -> None:
    stream.broker.produce(
        stream.topic,
        [
            product_event("product_created", "bad", at(0), price=-1),
            product_event("product_created", "broken", at(0), fails="not_an_image"),
            product_event("product_updated", "off", at(0), is_active=False),
            product_event("product_created", "good", at(0)),
        ],
    )
    report = run(stream)
    assert (report.dead_letters, report.inactive, report.retried) == (2, 1, 0)
    dead = {each.key(): headers_of(each) for each in stream.broker.records(stream.config.kafka_dead_letter_topic)}
    assert {key: headers["reason"] for key, headers in dead.items()} == {
        b"bad": "bad_value",
        b"broken": "not_an_image",
    }
    assert dead[b"bad"]["detail"] == "price: -1 is below 0"


def test_pictures_that_may_come_back_are_tried_again_with_backoff(stream: Stream) -> None:
    stream.broker.produce(
        stream.topic,
        [
            product_event("product_created", "passes", at(0), fails="timeout*2"),
            product_event("product_created", "stays", at(0), fails="http_server_error"),
        ],
    )
    config = stream.changed(stream_retries=3, stream_retry_seconds=0.2)
    with running(config, stream.recorder.apply):
        wait_until(lambda: stream.broker.records(config.kafka_dead_letter_topic))
        wait_until(lambda: stream.lag == 0)
    retries = [headers_of(each) for each in stream.broker.records(config.kafka_retry_topic)]
    assert sorted(each["attempt"] for each in retries if each["reason"] == "timeout") == ["1", "2"]
    assert sorted(each["attempt"] for each in retries if each["reason"] == "http_server_error") == ["1", "2", "3"]
    (letter,) = stream.broker.records(config.kafka_dead_letter_topic)
    assert letter.key() == b"stays"
    assert headers_of(letter)["topic"] == stream.topic
    assert headers_of(letter)["attempt"] == "3"
    attempts = sorted(int(each["not-before"]) for each in retries if each["reason"] == "http_server_error")
    assert attempts[2] - attempts[1] >= 800  # the third try waits for 0.8 s, whatever the second took


def test_bounded_run_leaves_retries_that_are_not_due(stream: Stream) -> None:
    stream.broker.produce(stream.topic, [product_event("product_created", "a", at(0), fails="timeout*1")])
    assert run(stream, stream_retry_seconds=3600).retried == 1
    report = run(stream)
    assert report.caught_up
    assert (report.records, report.lag) == (0, 1)


def test_conflict_is_tried_again_and_a_failed_gate_ends_the_run_uncommitted(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.stream.applying.FIRST_WAIT", 0.01)
    stream.broker.produce(stream.topic, [product_event("product_created", "a", at(0))])
    errors: list[Exception] = [GateFailed("recall is too low")]

    def apply(path: Path) -> AppliedChanges:
        if errors:
            raise errors.pop()
        return stream.recorder.apply(path)

    with pytest.raises(GateFailed):
        run_stream(stream.config, apply, until_caught_up=True)
    assert stream.lag == 1
    errors += [PublishConflict("another process moved CURRENT")] * 3
    assert run_stream(stream.config, apply, until_caught_up=True).applied == 1
    assert stream.lag == 0


def test_commit_that_a_rebalance_refuses_is_tried_again_while_the_partitions_stay(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, refusals = EventConsumer.commit, [False, False]

    def refused(consumer: EventConsumer, offsets: dict[tuple[str, int], int]) -> bool:
        return refusals.pop() if refusals else commit(consumer, offsets)

    monkeypatch.setattr(EventConsumer, "commit", refused)
    stream.broker.produce(stream.topic, [product_event("product_created", "a", at(0))])
    report = run(stream)
    assert (report.caught_up, report.batches, report.abandoned, stream.lag) == (True, 1, 0, 0)
    assert len(stream.recorder.calls) == 1


def test_long_batches_do_not_cost_the_membership(stream: Stream) -> None:
    # Applying takes longer than librdkafka lets a consumer go without a poll.
    options = {**stream.config.kafka_options, "max.poll.interval.ms": "4000"}
    stream.broker.produce(stream.topic, [product_event("product_created", "a", at(0))])

    def apply(path: Path) -> AppliedChanges:
        threading.Event().wait(6)
        return stream.recorder.apply(path)

    report = run_stream(stream.changed(kafka_options=options), apply, until_caught_up=True)
    assert (report.batches, report.abandoned) == (1, 0)
    assert stream.lag == 0


def test_consumer_behind_retention_stops_instead_of_skipping(stream: Stream) -> None:
    stream.broker.produce(stream.topic, [product_event("product_created", "a", at(0))], partition=0)
    run(stream)
    long = product_event("product_created", "b", at(1), title="x" * 50_000)
    stream.broker.produce(stream.topic, [long] * 200, partition=0)  # the mock keeps 5 MB
    for _ in range(2):  # at every start, until somebody moves the offsets
        with pytest.raises(StreamFailed, match="offset 1 is no longer in the topic"):
            run(stream)


def test_new_group_begins_at_the_first_record_there_is(stream: Stream) -> None:
    long = product_event("product_created", "b", at(1), title="x" * 50_000)
    stream.broker.produce(stream.topic, [long] * 200, partition=0)
    report = run(stream)
    assert 0 < report.records < 200
    assert report.lag == 0


def test_missing_topic_and_missing_broker_are_named(stream: Stream) -> None:
    with pytest.raises(StreamFailed, match="'nothing-here' cannot be used"):
        run(stream, kafka_topics=("nothing-here",))


def test_full_batches_are_applied_one_after_the_other(stream: Stream) -> None:
    events = [product_event("product_created", f"p{number}", at(number)) for number in range(1000)]
    stream.broker.produce(stream.topic, events)
    report = run(stream, stream_batch_events=300, stream_batch_seconds=60)
    assert report.applied == 1000
    assert max(len(call) for call in stream.recorder.calls) <= 300
    assert report.batches == len(stream.recorder.calls) == 4
    assert len(stream.recorder.products) == 1000
