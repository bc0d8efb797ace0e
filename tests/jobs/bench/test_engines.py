"""`lookalike bench engines`: what it measured of FAISS files and of engines, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import lookalike
from artifacts.config import IndexConfig
from artifacts.engines.base import EngineAddress
from artifacts.engines.pool import EnginePool
from artifacts.errors import InputError
from jobs.bench.engines.measure import EnginesOptions, measure_engines
from jobs.bench.engines.named import KEY_PREFIX, named_engines
from jobs.bench.engines.report import EnginesReport
from jobs.bench.index.data import drawn_data
from jobs.bench.show.engines import engines_tables, plot_engines
from jobs.progress import Reporter

ROWS, DIM = 1000, 16
# The client's imitation of a Qdrant warns that it has no index.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def report(folder: Path) -> EnginesReport:
    """Of FAISS, of an engine, and of another of its kind that does not answer."""
    engines = named_engines(
        [f"qdrant=path:{folder / 'qdrant'}", "qdrant:gone=http://127.0.0.1:1"],
        options=['qdrant={"m": 8}'],
        pids=[f"qdrant={os.getpid()}"],
        folders=[f"qdrant={folder}"],
    )
    data = drawn_data(ROWS, DIM, 0, 20, folder / "data")
    options = EnginesOptions(turns=2, seconds=0.05, threads=2)
    return measure_engines(data, engines, IndexConfig(codec="pq"), options, Reporter(Console(quiet=True)))


@pytest.mark.slow
def test_bench_finds_the_rows_with_every_engine_and_under_every_filter(report: EnginesReport) -> None:
    assert (report.rows, report.dim, len(report.load)) == (ROWS, DIM, 2)
    assert [found.name for found in report.measured] == ["faiss", "qdrant"]
    for found in report.measured:
        kinds = [(case.modality, case.kind, case.way) for case in found.cases]
        of_one = [("none", "index"), *[("unrelated", "index"), ("unrelated", "planned")] * 2]
        assert kinds == [(modality, *kind) for modality in ("image", "text") for kind in of_one]
        for case in found.cases:
            assert case.recall_at_100 >= report.target
            assert case.qps == max(case.turns) > 0
            assert len(case.turns) == 2
            assert 0 < case.p50_ms <= case.p99_ms
            assert (case.qps_threads > 0) == (case.way == "index")
        assert set(found.params) == {"image", "text"}


@pytest.mark.slow
def test_engine_and_not_the_planner_finds_the_rows_that_pass(report: EnginesReport) -> None:
    faiss, qdrant = report.measured
    share = report.shares[0]
    paths = [
        (case.path, planned.path)
        for found in (faiss, qdrant)
        if (case := found.case("image", share)) and (planned := found.case("image", share, "planned"))
    ]
    assert paths == [("ivf", "exact"), ("qdrant", "exact")]


@pytest.mark.slow
def test_bench_measures_load_disk_and_memory(report: EnginesReport) -> None:
    faiss, qdrant = report.measured
    for found in (faiss, qdrant):
        assert found.load is not None
        assert found.load.index_seconds >= 0
        assert found.memory_mb
        assert found.disk_mb
    assert faiss.description == "IVF128,PQ2"
    assert qdrant.load is not None
    assert qdrant.load.rows_per_second > 0
    assert qdrant.memory_before_mb
    assert qdrant.description == "m 8"


@pytest.mark.slow
def test_engine_that_does_not_answer_costs_its_own_figures_only(report: EnginesReport) -> None:
    failed = report.contenders[-1]
    assert (failed.name, failed.cases) == ("qdrant:gone", [])
    assert failed.error.startswith("load: ")
    assert "127.0.0.1:1" in failed.error


@pytest.mark.slow
def test_bench_leaves_nothing_behind(report: EnginesReport, folder: Path) -> None:
    engines = EnginePool(url=f"path:{folder / 'qdrant'}")
    assert engines.engine("qdrant").names() == []
    engines.close()
    assert not list((folder / "data").rglob("engines"))


@pytest.mark.slow
def test_tables_and_plot_have_every_contender(report: EnginesReport, tmp_path: Path) -> None:
    loading, searches = engines_tables(report)
    assert (loading.row_count, searches.row_count) == (3, 2 * 2 * 3)
    plot_engines(report, tmp_path / "engines.png")
    assert (tmp_path / "engines.png").read_bytes().startswith(b"\x89PNG")


def test_command_without_engines_measures_faiss_with_the_codec(tmp_path: Path) -> None:
    arguments = ["bench", "engines", "--rows", "2000", "--dim", "16", "--count", "20", "--turns", "1"]
    arguments += ["--seconds", "0.05", "--codec", "sq8", "--folder", str(tmp_path)]
    arguments += ["--json", str(tmp_path / "report.json"), "--plot", str(tmp_path / "plot.png")]
    run = CliRunner().invoke(lookalike.app, arguments)
    assert run.exit_code == 0, run.output
    (faiss,) = json.loads((tmp_path / "report.json").read_text())["contenders"]
    assert (faiss["name"], faiss["description"]) == ("faiss", "IVF128,SQ8")
    assert (tmp_path / "plot.png").exists()


def test_credential_of_a_kind_takes_the_place_of_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{KEY_PREFIX}PGVECTOR", "shop:s3cret")
    found = named_engines(["pgvector:a=postgresql://db/shop?x=1", "milvus=http://m:1"], "token")
    addresses = [EngineAddress("postgresql://db/shop?x=1", "shop:s3cret"), EngineAddress("http://m:1", "token")]
    assert [engine.address for engine in found] == addresses
    assert [(engine.name, engine.kind) for engine in found] == [("pgvector:a", "pgvector"), ("milvus", "milvus")]


@pytest.mark.parametrize(
    ("urls", "others", "message"),
    [
        (["postgresql://shop:s3cret@db/shop"], {}, "--engine: 'postgresql' is not of the form NAME=VALUE"),
        (["oracle=oracle://db"], {}, "--engine: 'oracle' does not begin with one of pgvector, milvus"),
        (["qdrant=memory:", "qdrant=memory:"], {}, "--engine: 'qdrant' is there twice"),
        (["qdrant=memory:"], {"options": ["milvus={}"]}, "--options: no --engine is called 'milvus'"),
        (["qdrant=memory:"], {"options": ["qdrant={"]}, "--options: '{' is not JSON"),
        (["qdrant=memory:"], {"options": ["qdrant=[1]"]}, "--options: '[1]' is not a JSON object"),
        (["qdrant=memory:"], {"pids": ["qdrant=x"]}, "--pid: there is no process 'x'"),
        (["qdrant=memory:"], {"folders": ["qdrant=/no/such"]}, "--data: there is no folder '/no/such'"),
    ],
)
def test_wrong_arguments_are_named_without_a_password(urls: list[str], others: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        named_engines(urls, **others)
    assert "s3cret" not in str(caught.value)
