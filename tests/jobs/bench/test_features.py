"""`lookalike bench features`: what it measured of each store, and that it leaves nothing behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lookalike
from artifacts.errors import EmbeddingStoreError, InputError
from jobs.bench.features.measure import StoreReport, measure_features
from tests.redis import RedisServer


def check(report: StoreReport, dim: int) -> None:
    assert report.wrong == 0
    assert min(report.put, report.put_again, report.get, report.get_half) > 0
    assert 0 < report.single_p50_ms <= report.single_p99_ms
    assert 32 + 2 * dim <= report.bytes_per_row < 10 * (32 + 2 * dim)


def test_bench_measures_parquet_and_removes_what_it_wrote(tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    url = str(tmp_path / "features")
    report = measure_features(3000, 64, [url], "shop:s3cret", tmp_path, 2, lambda *step: steps.append(step))
    assert (report.rows, report.dim, [store.kind for store in report.stores]) == (3000, 64, ["parquet"])
    check(report.stores[0], 64)
    assert steps == [(0, 2), (1, 2), (2, 2)]
    assert list((tmp_path / "features").iterdir()) == []


@pytest.mark.redis
def test_bench_measures_a_redis_that_is_named_and_removes_its_keys(tmp_path: Path) -> None:
    server = RedisServer()
    server.start()
    try:
        server.client.set("emb:another:key", b"1")
        report = measure_features(3000, 64, [server.url], "", tmp_path)
        check(report.stores[0], 64)
        assert report.stores[0].version.startswith("Redis ")
        assert server.client.keys() == [b"emb:another:key"]
    finally:
        server.kill()


@pytest.mark.slow
@pytest.mark.redis
def test_bench_starts_the_servers_that_are_installed(tmp_path: Path) -> None:
    arguments = ["bench", "features", "--rows", "1000", "--dim", "32", "--turns", "1", "--folder", str(tmp_path)]
    run = CliRunner().invoke(lookalike.app, [*arguments, "--json", str(tmp_path / "report.json")])
    assert run.exit_code == 0, run.output
    stores = json.loads((tmp_path / "report.json").read_text())["stores"]
    assert [store["kind"] for store in stores] == ["parquet", "postgresql", "redis"]
    assert [store["wrong"] for store in stores] == [0, 0, 0]
    assert "pgvector" in stores[1]["version"]


def test_bench_names_a_store_that_does_not_exist_or_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nonsense"):
        measure_features(1000, 8, ["nonsense://x"], "", tmp_path)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "postgresql://127.0.0.1:1/shop"])
def test_bench_names_a_server_that_does_not_answer(tmp_path: Path, url: str) -> None:
    with pytest.raises(EmbeddingStoreError, match=re.escape("127.0.0.1:1")):
        measure_features(1000, 8, [url], "", tmp_path)
