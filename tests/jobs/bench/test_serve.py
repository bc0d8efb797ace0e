"""`lookalike bench serve`: a small run starts a server, asks it in every way, and stops it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from artifacts.encoders.registry import load_encoder
from artifacts.errors import LookalikeError
from artifacts.settings import Settings
from jobs.bench.load.server import ServerProcess
from jobs.bench.serve import ServeBench, measure_serving
from jobs.bench.show.serve import memory_table, serve_plot, serve_table

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> ServeBench:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the encoder is one of the tests'
        return measure_serving(
            10_000, Settings(codec="sq8"), tmp_path_factory.mktemp("bench"),
            workers=2, clients=4, seconds=1, spec="python:tests.encoders:ColourWords",
        )  # fmt: skip


def test_every_way_is_measured(measured: ServeBench) -> None:
    assert [each.way for each in measured.rates] == ["faiss", "search", "vector", "ranked", "text", *["offered"] * 8]
    assert measured.recall_at_100 >= 0.95
    for each in measured.rates:
        assert each.per_second > 0
        assert 0 < each.p50_ms <= each.p95_ms <= each.p99_ms
        assert each.failed == 0
        assert 0 < each.core_ms < 10_000
        assert 0 <= each.stolen < 1
    offered = [each.offered for each in measured.rates if each.way == "offered"]
    assert offered == sorted(offered)
    for way in ("faiss", "search", "vector", "ranked"):
        turns = measured.of(way).turns
        assert len(turns) == 5
        assert min(turns) <= measured.of(way).per_second <= max(turns)
    assert 0 < measured.ratio("faiss") < measured.ratio("search") < 2
    assert measured.ratio("vector") == 1


def test_memory_of_each_worker(measured: ServeBench) -> None:
    assert len({each.pid for each in measured.memory}) == 2
    for each in measured.memory:
        assert each.private_mb > 10
        assert each.private_mb <= each.proportional_mb + 1 <= each.private_mb + each.shared_mb + 1
        with pytest.raises(ProcessLookupError):
            os.kill(each.pid, 0)  # nothing is left running


def test_tables_and_plot(measured: ServeBench, tmp_path: Path) -> None:
    assert serve_table(measured).row_count == 13
    assert memory_table(measured).row_count == 2
    serve_plot(measured, tmp_path / "out" / "s.png")
    with Image.open(tmp_path / "out" / "s.png") as picture:
        assert picture.width > 1000


def test_a_server_that_does_not_come_up_is_told(tmp_path: Path) -> None:
    with pytest.raises(LookalikeError, match="did not become ready"), ServerProcess({"LOOKALIKE_THREADS": "none"}):
        pass


def test_the_encoder_is_shaped_like_the_real_one() -> None:
    encoder = load_encoder("python:jobs.bench.encoder:ClipShaped")
    assert (encoder.dim, encoder.supports_text) == (512, True)
    vectors = encoder.encode_texts(["a red mug", "a red mug", "a blue dress"])
    assert (vectors[0] == vectors[1]).all()
    assert (vectors[0] != vectors[2]).any()
    load_encoder.cache_clear()
