"""Batches: of each product the last event, however the events are ordered and divided into batches."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from artifacts.config import StreamConfig
from jobs.stream.batch import Batch
from jobs.stream.failures import sort_failures
from jobs.stream.kafka.records import Record, failure_headers
from jobs.stream.sink import AppliedChanges
from tests.kafka import product_event

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONFIG = StreamConfig("", ("events",))


def record(
    offset: int, product_id: str, seconds: float, event: str = "product_updated", partition: int = 0, **columns: Any
) -> Record:
    key, value = product_event(event, product_id, NOON + timedelta(seconds=seconds), **columns)
    return Record("events", partition, offset, 0, key.encode(), value)


def batch_of(*records: Record, config: StreamConfig = CONFIG) -> Batch:
    batch = Batch(config)
    for each in records:
        batch.add(each)
    return batch


def rows_of(batch: Batch, folder: Path) -> dict[str, dict[str, Any]]:
    batch.write(folder / "changes.jsonl")
    rows = [json.loads(line) for line in (folder / "changes.jsonl").read_text().splitlines()]
    assert len({row["product_id"] for row in rows}) == len(rows)
    return {row["product_id"]: row for row in rows}


#: (product, seconds, deleted) in the order of their offsets. Few values, so that equal times are common.
EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.booleans()), max_size=30)


@given(events=EVENTS, cuts=st.sets(st.integers(0, 30)))
def test_any_division_into_batches_ends_with_each_products_last_event(
    events: list[tuple[str, int, bool]], cuts: set[int], tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("batch")
    kinds = {True: "product_deleted", False: "product_updated"}
    records = [record(n, product, time, kinds[gone], n=n) for n, (product, time, gone) in enumerate(events)]
    state: dict[str, tuple[str, bool, int | None]] = {}
    received = superseded = 0
    bounds = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    for first, last in pairwise(bounds):
        batch = batch_of(*records[first:last])
        received += batch.received
        superseded += batch.superseded.total()
        for product, row in rows_of(batch, folder).items():
            if product not in state or row["updated_at"] >= state[product][0]:
                state[product] = row["updated_at"], row["deleted"], row.get("n")
    expected: dict[str, tuple[str, bool, int | None]] = {}
    for n, (product, time, gone) in sorted(enumerate(events), key=lambda each: (each[1][1], each[0])):
        moment = (NOON + timedelta(seconds=time)).isoformat()
        expected[product] = moment, gone, None if gone else n
    assert state == expected
    assert received == len(events)
    assert superseded <= len(events) - len(expected)


@given(order=st.permutations(range(6)))
def test_order_of_arrival_between_partitions_does_not_matter(order: list[int], tmp_path_factory: Any) -> None:
    records = [record(n // 2, "a", seconds=n * 7 % 6, partition=n % 2, n=n) for n in range(6)]
    rows = rows_of(batch_of(*(records[n] for n in order)), tmp_path_factory.mktemp("batch"))
    assert rows["a"]["n"] == 5  # 5 · 7 mod 6 is the greatest


def test_event_that_is_tried_again_does_not_replace_a_later_one_of_the_same_time(tmp_path: Path) -> None:
    first, second = record(3, "a", 0, title="first"), record(9, "a", 0, title="second")
    headers = tuple(failure_headers(first, "timeout", "", attempt=1, not_before=0))
    again = Record("retry", 2, 0, 0, first.key, first.value, headers)
    for order in ([second, again], [again, second]):
        assert rows_of(batch_of(*order), tmp_path)["a"]["title"] == "second"


def test_columns_that_differ_in_case_alone_get_one_name(tmp_path: Path) -> None:
    rows = rows_of(batch_of(record(0, "a", 0, Colour="red"), record(1, "b", 0, colour="blue")), tmp_path)
    assert (rows["a"]["Colour"], rows["b"]["Colour"]) == ("red", "blue")


def test_event_that_would_bring_too_many_columns_is_a_dead_letter(tmp_path: Path) -> None:
    wide = {f"c{number}": number for number in range(990)}
    other = {f"d{number}": number for number in range(990)}
    batch = batch_of(record(0, "a", 0, **wide), record(1, "b", 0, **other), record(2, "c", 0))
    assert [letter.record.offset for letter in batch.dead_letters] == [1]
    assert rows_of(batch, tmp_path).keys() == {"a", "c"}


def test_batch_is_due_when_it_is_full_or_old_enough() -> None:
    now = [100.0]
    batch = Batch(replace(CONFIG, stream_batch_events=3, stream_batch_seconds=10), clock=lambda: now[0])
    now[0] += 60
    assert not batch.is_due  # a batch without records does not age
    batch.add(record(0, "a", 0))
    now[0] += 9
    assert (batch.is_due, batch.room) == (False, 2)
    now[0] += 1
    assert batch.is_due
    now[0] -= 5
    batch.add(record(1, "a", 0))
    batch.add(Record("events", 0, 2, 0, None, b"{"))  # what is no event takes room, too
    assert (batch.is_due, batch.room) == (True, 0)
    assert batch.offsets == {("events", 0): 3}


def test_batch_of_large_events_is_due_before_it_takes_all_memory(monkeypatch: Any) -> None:
    monkeypatch.setattr("jobs.stream.batch.MAX_BYTES", 10_000)
    batch = batch_of(record(0, "a", 0, title="x" * 5000))
    assert not batch.is_due
    batch.add(record(1, "a", 0, title="x" * 5000))
    assert batch.is_due


def test_failures_are_sorted_into_retries_and_dead_letters() -> None:
    names = ["ok", "timeout", "mixed", "broken", "off", "exhausted"]
    records = [record(number, name, 0) for number, name in enumerate(names)]
    headers = tuple(failure_headers(records[-1], "timeout", "", attempt=5))
    records[-1] = Record("retry", 0, 0, 0, records[-1].key, records[-1].value, headers)
    batch = batch_of(*records)
    applied = AppliedChanges(
        "v1",
        3,
        0,
        rejects=[("off", "inactive", "is_active: false"), ("timeout", "timeout", "no answer")],
        pictures_failed=[
            ("timeout", "timeout", "no answer"),
            ("mixed", "not_an_image", "picture 0 is a page"),
            ("mixed", "http_server_error", "picture 1: 503"),
            ("broken", "not_an_image", "picture 0 is a page"),
            ("broken", "file_not_found", "picture 1: 404"),
            ("exhausted", "timeout", "no answer"),
            ("of an earlier batch", "timeout", "no answer"),
        ],
    )
    found = sort_failures(batch, applied, replace(CONFIG, stream_retries=5, stream_retry_seconds=30), now=1000)
    assert {
        each.event.product_id: (each.reason, each.detail, each.attempt, each.not_before) for each in found.retries
    } == {
        "timeout": ("timeout", "no answer", 1, 1030),
        "mixed": ("http_server_error", "picture 1: 503", 1, 1030),
    }
    assert {each.record.key: (each.reason, each.detail) for each in found.dead_letters} == {
        b"broken": ("not_an_image", "picture 0 is a page; picture 1: 404"),
        b"exhausted": ("timeout", "no answer"),
    }
    assert found.outcomes == {
        "off": "inactive",
        "timeout": "retried",
        "mixed": "retried",
        "broken": "dead_letter",
        "exhausted": "dead_letter",
    }
