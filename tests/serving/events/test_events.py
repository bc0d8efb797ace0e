"""The event log: what it records, how it writes it, and what it does when writing fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from artifacts.settings import Settings
from artifacts.storage import Folder
from serving.events.log import EventLog
from serving.events.parquet_sink import SCHEMAS
from serving.services import services_of
from tests.serving.answers import client_for, ids, problem
from tests.waiting import wait_until


def written(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All written events of a kind, in the order of the files' names."""
    files = sorted((folder / kind).rglob("*.parquet"))
    assert all(path.parent.name.startswith("date=2") for path in files)
    return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]


def flush(client: FlaskClient) -> None:
    services_of(client.application).events.flush()


def logging_client(rich: Settings, folder: Path, **changes: Any) -> FlaskClient:
    return client_for(rich.model_copy(update={"events": str(folder), "events_seconds": 3600, **changes}))


def test_events_hold_searches_batches_and_clicks(rich: Settings, tmp_path: Path) -> None:
    client = logging_client(rich, tmp_path, result_cache_seconds=300)
    answers = [client.get("/v1/search/text?q=red&limit=5").get_json() for _ in range(2)]
    batch = client.post("/v1/search/batch", json={"searches": [{"text": "blue"}, {}]}).get_json()["answers"]
    click = {"search_id": answers[0]["search_id"], "product_id": ids(answers[0])[2], "position": 2}
    assert client.post("/v1/events/click", json=click).status_code == 204
    flush(client)
    searches = written(tmp_path, "searches")
    assert [event["search_id"] for event in searches] == [answer["search_id"] for answer in [*answers, batch[0]]]
    assert [(event["type"], event["cached"]) for event in searches] == [
        ("text", False),
        ("text", True),
        ("batch", False),
    ]
    assert searches[0]["product_ids"] == searches[1]["product_ids"] == ids(answers[0])
    assert searches[0]["scores"] == pytest.approx([result["score"] for result in answers[0]["results"]])
    assert len(searches[0]["vector"]) == 8
    assert searches[1]["vector"] is None
    assert searches[0]["release"] == answers[0]["release"]
    assert [{name: event[name] for name in click} for event in written(tmp_path, "clicks")] == [click]
    metrics = client.get("/metrics").get_data(as_text=True)
    assert 'image_search_click_position_bucket{le="2.0"}' in metrics


def test_events_keep_their_order_beyond_one_conversion(tmp_path: Path) -> None:
    """More events than are converted to Arrow at a time, with and without a vector."""
    log = EventLog(str(tmp_path), 3600)
    for number in range(1201):
        answer = {
            "results": [{"product_id": f"p{number}", "score": number / 2}] * (number % 3), "search_id": f"s{number}",
            "release": "r", "query_time_ms": 1.0, "total_found": number,
        }  # fmt: skip
        log.search("text", answer, cached=False, vector=None if number % 5 else np.full(4, number, np.float32))
    log.close()
    events = written(tmp_path, "searches")
    assert [event["search_id"] for event in events] == [f"s{number}" for number in range(1201)]
    assert [event["vector"] for event in events[:6]] == [[0] * 4, None, None, None, None, [5] * 4]
    assert [event["product_ids"] for event in events[1199:]] == [["p1199"] * 2, []]
    assert events[-1]["vector"] == [1200] * 4


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"search_id": "x"}, "search_id"),
        ({"search_id": "A" * 32}, "search_id"),
        ({"position": -1}, "position"),
        ({"position": "first"}, "position"),
        ({"product_id": ""}, "product_id"),
        ({"user": "me"}, "user"),
    ],
)
def test_invalid_clicks_are_refused_by_field(rich_client: FlaskClient, change: dict[str, Any], field: str) -> None:
    click = {"search_id": "a" * 32, "product_id": "p001", "position": 0, **change}
    problem(rich_client.post("/v1/events/click", json=click), 422, field)


def test_event_log_writes_in_the_background(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), 0.01)
    log.click("a" * 32, "p1", 0)
    wait_until(lambda: written(tmp_path, "clicks"))
    log.close()


def test_close_writes_pending_events(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), 3600)
    for position in range(100):
        log.click("a" * 32, "p1", position)
    assert log.pending == 100
    log.close()
    assert log.pending == 0
    assert [event["position"] for event in written(tmp_path, "clicks")] == list(range(100))
    assert written(tmp_path, "searches") == []


def test_event_log_writes_to_object_stores() -> None:
    log = EventLog("memory://events-test", 3600)
    log.click("a" * 32, "p1", 0)
    log.close()
    folder = Folder("memory://events-test/clicks")
    (day,) = folder.names()
    (name,) = folder.names(day)
    assert pq.read_table(pa.BufferReader(folder.read_bytes(f"{day}/{name}"))).schema.equals(SCHEMAS["clicks"])


@contextmanager
def full_disk() -> Iterator[None]:
    """Fail every attempt to write a Parquet file."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq, "write_table", fail)
        yield


def test_a_full_disk_fails_no_search_and_loses_no_event(rich: Settings, tmp_path: Path) -> None:
    client = logging_client(rich, tmp_path)
    with full_disk():
        answers = [client.get(f"/v1/search/text?q=red&limit={limit}").get_json() for limit in (1, 2)]
        flush(client)
        flush(client)
        assert written(tmp_path, "searches") == []
        answers += [client.get(f"/v1/search/text?q=red&limit={limit}").get_json() for limit in (3, 4)]
    flush(client)
    assert [event["search_id"] for event in written(tmp_path, "searches")] == [
        answer["search_id"] for answer in answers
    ]


def test_event_log_drops_the_oldest_events_beyond_its_limit(tmp_path: Path) -> None:
    lost = REGISTRY.get_sample_value("image_search_events_lost_total") or 0.0
    log = EventLog(str(tmp_path), 3600, max_pending=3)
    with full_disk():
        for position in (0, 1):
            log.click("a" * 32, "p1", position)
        log.flush()
        for position in (2, 3):
            log.click("a" * 32, "p1", position)
    log.close()
    assert [event["position"] for event in written(tmp_path, "clicks")] == [1, 2, 3]
    assert REGISTRY.get_sample_value("image_search_events_lost_total") == lost + 1


def test_event_log_without_a_folder_keeps_nothing_and_starts_no_thread() -> None:
    threads = set(threading.enumerate())
    log = EventLog("", 0.01)
    log.click("a" * 32, "p1", 0)
    assert set(threading.enumerate()) == threads
    assert log.pending == 0
    log.close()
