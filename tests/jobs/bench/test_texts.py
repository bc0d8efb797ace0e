"""`lookalike bench texts`: both precisions of the sample encoder, timed and compared on a small release."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.errors import LookalikeError
from jobs.bench.show.texts import texts_table
from jobs.bench.texts import measure_texts
from tests.pipeline import publish_small, small_settings, write_small_catalog

pytestmark = pytest.mark.server


def test_both_precisions_are_timed_and_give_nearly_the_same_results(tmp_path: Path) -> None:
    settings = small_settings(tmp_path, encoder="sample", flat_max_rows=0)
    publish_small(write_small_catalog(tmp_path / "shop"), settings)
    report = measure_texts(settings.pipeline, 20, 0.01, large_encoder="sample")  # a large one takes too long
    assert report.texts == 20
    assert [(time.encoder, time.at_once) for time in report.times] == [("sample", size) for size in (1, 8, 32)] * 2
    assert all(time.float32_ms > 0 and time.bfloat16_ms > 0 for time in report.times)
    assert 0.999 < report.cosine < 1  # not the same vectors
    assert 0.98 < report.recall_at_100 <= 1
    assert texts_table(report).row_count == 6


def test_encoder_of_another_class_is_rejected(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    publish_small(write_small_catalog(tmp_path / "shop"), settings)
    with pytest.raises(LookalikeError, match="not one of open_clip's"):
        measure_texts(settings.pipeline, 20, 0.01)
