"""The stream's metrics: what is counted, and that they are served and documented."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from artifacts.config import StreamConfig
from artifacts.errors import StreamFailed
from jobs.stream.batch import Batch
from jobs.stream.events import Problem
from jobs.stream.failures import Failures
from jobs.stream.kafka.records import Record
from jobs.stream.metrics import StreamMetrics
from tests.kafka import product_event

ROOT = Path(__file__).parent.parent.parent.parent
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def value(metrics: StreamMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"lookalike_stream_{name}", labels)


def test_events_are_counted_by_what_became_of_them() -> None:
    now = [NOON.timestamp() - 60]
    metrics = StreamMetrics(clock=lambda: now[0])
    now[0] += 120
    batch = Batch(StreamConfig("", ("events",)))
    for offset, name in enumerate(["a", "a", "b", "c", "d"]):
        key, content = product_event("product_created", name, NOON + timedelta(seconds=offset))
        batch.add(Record("events", 0, offset, 0, key.encode(), content))
    batch.add(Record("events", 0, 5, 0, None, b"{"))
    metrics.count_batch(batch, Failures(outcomes={"b": "retried", "d": "dead_letter"}), stale=1, seconds=2)
    counts = {
        outcome: value(metrics, "events_total", event="product_created", outcome=outcome)
        for outcome in ("applied", "superseded", "retried", "dead_letter")
    }
    assert counts == {"applied": 2, "superseded": 1, "retried": 1, "dead_letter": 1}
    assert value(metrics, "events_total", event="unknown", outcome="dead_letter") == 1
    assert value(metrics, "searchable_seconds_count") == 2
    # The newest searchable event is c's, 57 s ago: d's failed.
    assert value(metrics, "last_event_seconds") == NOON.timestamp() + 3
    metrics.set_lags({("events", 0): 7}, "retry")
    assert value(metrics, "freshness_seconds") == 57
    assert value(metrics, "lag", topic="events", partition="0") == 7
    metrics.set_lags({("events", 1): 0, ("retry", 0): 5}, "retry")
    assert value(metrics, "freshness_seconds") == 0  # nothing waits: what is searchable is fresh, however old
    assert value(metrics, "lag", topic="events", partition="0") is None
    now[0] += 600
    metrics.set_lags({("events", 1): 1}, "retry")
    assert value(metrics, "freshness_seconds") == 600  # since nothing waited


def test_metrics_are_served_until_closed_and_a_taken_port_is_named() -> None:
    metrics = StreamMetrics()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    close = metrics.serve("127.0.0.1", port)
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"lookalike_stream_freshness_seconds 0.0" in answer.read()
        with pytest.raises(StreamFailed, match=f"stream_metrics_port: 127.0.0.1:{port}"):
            StreamMetrics().serve("127.0.0.1", port)
    finally:
        close()
    with pytest.raises(OSError, match="refused"):
        urlopen(f"http://127.0.0.1:{port}/metrics")


# ── documentation and files for operators ────────────────────────────────────────────────────────────────────────────


def metric_types() -> dict[str, str]:
    families = StreamMetrics().registry.collect()
    return {each.name + ("_total" if each.type == "counter" else ""): each.type for each in families}


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs/stream.md").read_text()
    rows = re.findall(r"^\| `(lookalike_stream_\w+)` \| (\w+) \|", page, re.MULTILINE)
    assert dict(rows) == metric_types()


def test_every_reason_of_the_stream_is_documented() -> None:
    page = (ROOT / "docs/stream.md").read_text()
    assert all(f"| `{problem}` |" in page for problem in Problem)


def test_alarms_use_existing_metrics() -> None:
    rules = [rule for group in yaml.safe_load((ROOT / "serving/deploy/alerts.yml").read_text())["groups"]
             for rule in group["rules"] if "lookalike_stream_" in rule["expr"]]  # fmt: skip
    assert len(rules) >= 3
    names = {name for rule in rules for name in re.findall(r"\blookalike_stream_\w+", rule["expr"])}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} <= metric_types().keys()
