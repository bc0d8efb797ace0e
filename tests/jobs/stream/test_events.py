"""What is an event, and what is wrong with what is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from artifacts.errors import EventError
from jobs.stream.events import Event, EventKind, parse_event
from jobs.stream.kafka.records import Record, failure_headers

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PRODUCT = {"product_id": "A1", "image_url": "https://shop.example/a1.jpg", "title": "Mug"}


def record(value: Any, key: bytes | None = None, **fields: Any) -> Record:
    content = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return Record(**{"topic": "events", "partition": 1, "offset": 7, "timestamp": 1_700_000_000_000, **fields,
                     "key": key, "value": content})  # fmt: skip


def envelope(**changes: Any) -> dict[str, Any]:
    return {"event": "product_updated", "event_time": "2026-11-28T11:00:00Z", "product": PRODUCT, **changes}


def parse(value: Any, key: bytes | None = None, **fields: Any) -> Event:
    return parse_event(record(value, key, **fields), NOW, timedelta(minutes=5))


def test_row_of_the_event_becomes_the_row_of_the_change_file() -> None:
    product = {
        " Product_ID": " A1 ",
        "IMAGE_URL": ["a.jpg"],
        "Colour": "red",
        "updated_at": "1999-01-01",
        "n": {"x": 1},
    }
    event = parse(envelope(product=product, event_time="2026-11-28T12:00:00.5+01:00"))
    assert event.kind is EventKind.UPDATED
    assert event.change() == {
        "product_id": "A1",
        "image_url": ["a.jpg"],
        "Colour": "red",
        "n": {"x": 1},
        "updated_at": "2026-11-28T11:00:00.500000+00:00",
        "deleted": False,
    }


def test_deletion_names_only_its_product() -> None:
    change = parse(envelope(event="product_deleted")).change()
    assert change == {
        "product_id": "A1",
        "image_url": None,
        "updated_at": "2026-11-28T11:00:00+00:00",
        "deleted": True,
    }


def test_tombstone_deletes_the_product_of_its_key_at_its_timestamp() -> None:
    event = parse(None, key=b"A1")
    assert (event.kind, event.product_id) == (EventKind.DELETED, "A1")
    assert event.time == datetime.fromtimestamp(1_700_000_000, UTC)


def test_tombstone_that_was_sent_on_keeps_its_first_timestamp() -> None:
    headers = tuple(failure_headers(record(None, b"A1"), "timeout", "", attempt=1))
    event = parse(None, key=b"A1", topic="retry", timestamp=1_800_000_000_000, headers=headers)
    assert event.time == datetime.fromtimestamp(1_700_000_000, UTC)


def test_numbers_are_ids_and_times_without_zone_are_utc() -> None:
    event = parse(envelope(product={**PRODUCT, "product_id": 17}, event_time="2026-11-28T10:00:00"))
    assert (event.product_id, event.time) == ("17", datetime(2026, 11, 28, 10, tzinfo=UTC))


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (b"\xff", "unreadable_event", "not UTF-8: byte 0xff"),
        (b"{", "unreadable_event", "not JSON"),
        (b"", "unreadable_event", "not JSON"),
        (b"[1]", "unreadable_event", "not a JSON object"),
        (b"[" * 100_000, "unreadable_event", "not JSON"),
        (b'{"event": "a", "event": "b"}', "unreadable_event", "key 'event' occurs twice"),
        (b'{"event": NaN}', "unreadable_event", "NaN is not a number"),
        (b'{"event": "\\ud800"}', "unreadable_event", "surrogates not allowed"),
        ({}, "invalid_event", "event: Field required; event_time: Field required; product: Field required"),
        (envelope(event="product_update"), "invalid_event", "did you mean 'product_updated'"),
        (envelope(event_tiem="x"), "invalid_event", "event_tiem: is not a key of an event; did you mean 'event_time'"),
        (envelope(type="x"), "invalid_event", "type: is not a key of an event"),
        (envelope(event_time=1_700_000_000), "invalid_event", "event_time: Input should be a valid string"),
        (envelope(event_time="yesterday"), "invalid_event", "event_time: yesterday is not an ISO 8601 time"),
        (envelope(event_time="0001-01-01T00:00:00+14:00"), "invalid_event", "is not an ISO 8601 time"),
        (envelope(event_time="2026-11-28T12:06:00Z"), "future_event_time", "is 360 s ahead"),
        (envelope(product=[PRODUCT]), "invalid_event", "product: Input should be a valid dictionary"),
        (envelope(product={"title": "Mug"}), "missing_product_id", "product_id is empty"),
        (envelope(product={**PRODUCT, "product_id": " \u00a0"}), "missing_product_id", "product_id is empty"),
        (envelope(product={**PRODUCT, "product_id": None}), "missing_product_id", "product_id is empty"),
        (envelope(product={**PRODUCT, "product_id": True}), "bad_value", "product_id: true is not a text"),
        (envelope(product={**PRODUCT, "product_id": "x" * 513}), "bad_value", "is longer than 512 characters"),
        (envelope(product={**PRODUCT, "product_id": "a\nb"}), "bad_value", "has control characters"),
        (envelope(product={**PRODUCT, "Title": "Mug"}), "invalid_event", "columns 'title' and 'Title'"),
        (envelope(product={**PRODUCT, "row": 1}), "invalid_event", "column name 'row' is reserved"),
        (envelope(product={**PRODUCT, "": 1}), "invalid_event", "has no name"),
        (envelope(product={**PRODUCT, "a\0": 1}), "invalid_event", "control characters in its name"),
        (envelope(product={**PRODUCT, "Deleted": True}), "invalid_event", "send product_deleted instead"),
        (envelope(product=PRODUCT | {f"c{n}": n for n in range(1000)}), "invalid_event", "at most 1000"),
        (None, "missing_product_id", "neither a value nor a key"),
    ],
)  # fmt: skip
def test_record_that_is_no_event_is_refused_with_its_reason(value: Any, reason: str, detail: str) -> None:
    with pytest.raises(EventError) as error:
        parse(value)
    assert error.value.reason == reason
    assert detail in error.value.detail
    assert len(error.value.detail) < 1000


def test_tombstone_needs_a_key_that_is_text_and_a_timestamp() -> None:
    with pytest.raises(EventError, match="its key is not UTF-8"):
        parse(None, key=b"\xff")
    with pytest.raises(EventError, match="neither a value nor a timestamp"):
        parse(None, key=b"A1", timestamp=-1)


def test_headers_of_others_in_the_retry_topic_do_no_harm() -> None:
    headers = (("lookalike-attempt", b"many"), ("lookalike-not-before", b"\xff"), ("trace", b"1"))
    found = record(envelope(), headers=headers)
    assert (found.attempt, found.not_before) == (0, 0)
    assert found.origin.offset == 7
