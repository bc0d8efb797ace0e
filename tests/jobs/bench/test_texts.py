"""`lookalike bench texts`: both precisions of the sample encoder, timed and compared on a small release."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.errors import LookalikeError
from jobs.bench import texts
from jobs.bench.show.texts import texts_table
from jobs.bench.texts import measure_texts
from tests.pipeline import publish_small, small_settings, write_small_catalog


@pytest.fixture(autouse=True)
def _one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_LARGE", "sample")  # a real one's size takes its time


def test_times_and_what_is_found(tmp_path: Path) -> None:
    settings = small_settings(tmp_path, encoder="sample", flat_max_rows=0)
    publish_small(write_small_catalog(tmp_path / "shop"), settings)
    bench = measure_texts(settings, 20, 0.01)
    assert bench.texts == 20
    assert [(each.encoder, each.at_once) for each in bench.times] == [("sample", n) for n in (1, 8, 32)] * 2
    assert all(each.float32_ms > 0 and each.bfloat16_ms > 0 for each in bench.times)
    assert 0.999 < bench.cosine < 1  # they are not the same
    assert 0.98 < bench.recall_at_100 <= 1
    assert texts_table(bench).row_count == 6


def test_an_encoder_of_the_shops_own_has_nothing_to_compare(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    publish_small(write_small_catalog(tmp_path / "shop"), settings)
    with pytest.raises(LookalikeError, match="not one of open_clip's"):
        measure_texts(settings, 20, 0.01)
