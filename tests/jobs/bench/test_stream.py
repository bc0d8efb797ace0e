"""`lookalike bench stream` on a tiny catalog: every event is searchable, whatever is killed on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.settings import Settings
from jobs.bench.stream import measure_stream

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]


def test_every_event_is_searchable_in_the_end(tmp_path: Path) -> None:
    settings = Settings(cache=tmp_path / "cache", stream_batch_seconds=1)
    report = measure_stream(settings, tmp_path, products=120, rate=50, seconds=8)
    assert (report.events, report.wrong) == (400, 0)
    assert report.versions >= 1
    assert 0 < report.p50_seconds <= report.p99_seconds <= report.slowest_seconds < 120
