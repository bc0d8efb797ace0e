"""Searches and clicks are kept, without anybody waiting for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient

from artifacts.settings import Settings
from artifacts.storage import Folder
from serving.events import log as events_module
from serving.events.log import LOST, EventLog
from serving.events.parquet_sink import SCHEMAS
from serving.services import services_of
from tests.serving.answers import client_for, ids, problem
from tests.waiting import wait_until


def kept(folder: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted((folder / kind).rglob("*.parquet"))
    assert all(path.parent.name.startswith("date=2") for path in files)
    return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]


def flushed(client: FlaskClient) -> None:
    services_of(client.application).events.flush()


def logging_client(rich: Settings, folder: Path, **more: Any) -> FlaskClient:
    return client_for(rich.model_copy(update={"events": str(folder), "events_seconds": 3600, **more}))


def test_searches_and_clicks_are_kept(rich: Settings, tmp_path: Path) -> None:
    client = logging_client(rich, tmp_path, result_cache_seconds=300)
    answers = [client.get("/v1/search/text?q=red&limit=5").get_json() for _ in range(2)]
    batch = client.post("/v1/search/batch", json={"searches": [{"text": "blue"}, {}]}).get_json()["answers"]
    click = {"search_id": answers[0]["search_id"], "product_id": ids(answers[0])[2], "position": 2}
    assert client.post("/v1/events/click", json=click).status_code == 204
    flushed(client)
    searches = kept(tmp_path, "searches")
    assert [each["search_id"] for each in searches] == [each["search_id"] for each in [*answers, batch[0]]]
    assert [(each["type"], each["cached"]) for each in searches] == [("text", False), ("text", True), ("batch", False)]
    assert searches[0]["product_ids"] == searches[1]["product_ids"] == ids(answers[0])
    assert searches[0]["scores"] == pytest.approx([result["score"] for result in answers[0]["results"]])
    assert len(searches[0]["vector"]) == 8
    assert searches[1]["vector"] is None
    assert searches[0]["release"] == answers[0]["release"]
    assert [{name: each[name] for name in click} for each in kept(tmp_path, "clicks")] == [click]
    metrics = client.get("/metrics").get_data(as_text=True)
    assert 'image_search_click_position_bucket{le="2.0"}' in metrics


def test_many_are_kept_in_their_order(tmp_path: Path) -> None:
    """More than are made ready at once, with a vector and without."""
    log = EventLog(str(tmp_path), 3600)
    for number in range(1201):
        answer = {
            "results": [{"product_id": f"p{number}", "score": number / 2}] * (number % 3), "search_id": f"s{number}",
            "release": "r", "query_time_ms": 1.0, "total_found": number,
        }  # fmt: skip
        log.search("text", answer, cached=False, vector=None if number % 5 else np.full(4, number, np.float32))
    log.close()
    found = kept(tmp_path, "searches")
    assert [each["search_id"] for each in found] == [f"s{number}" for number in range(1201)]
    assert [each["vector"] for each in found[:6]] == [[0] * 4, None, None, None, None, [5] * 4]
    assert [each["product_ids"] for each in found[1199:]] == [["p1199"] * 2, []]
    assert found[-1]["vector"] == [1200] * 4


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
def test_clicks_that_are_none(rich_client: FlaskClient, change: dict[str, Any], field: str) -> None:
    click = {"search_id": "a" * 32, "product_id": "p001", "position": 0, **change}
    problem(rich_client.post("/v1/events/click", json=click), 422, field)


def test_events_are_written_by_themselves(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), 0.01)
    log.click("a" * 32, "p1", 0)
    wait_until(lambda: kept(tmp_path, "clicks"))
    log.close()


def test_what_is_left_is_written_at_the_end(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), 3600)
    for position in range(100):
        log.click("a" * 32, "p1", position)
    log.close()
    assert [each["position"] for each in kept(tmp_path, "clicks")] == list(range(100))
    assert kept(tmp_path, "searches") == []


def test_to_a_store_that_is_no_folder() -> None:
    log = EventLog("memory://events-test", 3600)
    log.click("a" * 32, "p1", 0)
    log.close()
    folder = Folder("memory://events-test/clicks")
    (day,) = folder.names()
    (name,) = folder.names(day)
    assert pq.read_table(pa.BufferReader(folder.read_bytes(f"{day}/{name}"))).schema.equals(SCHEMAS["clicks"])


def test_a_full_disk_fails_no_search_and_loses_only_what_does_not_fit(
    rich: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = logging_client(rich, tmp_path)
    write = EventLog._write

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EventLog, "_write", full)
    monkeypatch.setattr(events_module, "MOST", 3)
    lost = LOST._value.get()
    answers = [client.get(f"/v1/search/text?q=red&limit={limit}").get_json() for limit in (1, 2)]
    flushed(client)
    flushed(client)
    assert kept(tmp_path, "searches") == []
    answers += [client.get(f"/v1/search/text?q=red&limit={limit}").get_json() for limit in (3, 4)]
    monkeypatch.setattr(EventLog, "_write", write)
    flushed(client)
    assert [each["search_id"] for each in kept(tmp_path, "searches")] == [each["search_id"] for each in answers[1:]]
    assert LOST._value.get() == lost + 1


def test_without_a_place_nothing_is_kept_and_no_thread_runs() -> None:
    log = EventLog("", 0.01)
    log.click("a" * 32, "p1", 0)
    assert not log._thread.is_alive()
    assert not log._events
    log.close()
