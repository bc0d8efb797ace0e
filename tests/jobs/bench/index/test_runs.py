"""`lookalike bench index`: a small run measures every codec; a peer that misbehaves costs its own rows only."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import lookalike
from artifacts.errors import InputError
from jobs.bench.index.contenders import CODECS
from jobs.bench.index.data import IndexData, drawn_data
from jobs.bench.index.environments import PEERS, Peer, chosen_peers
from jobs.bench.index.report import IndexReport
from jobs.bench.index.runs import RunOptions, measure_indexes
from jobs.bench.show.index import tables
from jobs.progress import QUIET

FAKE = Path(__file__).parent / "fake_peer.py"
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
pytestmark = [pytest.mark.server, pytest.mark.skipif(sys.platform != "linux", reason="cores are set on Linux only")]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report and the plot of a run over 2,000 drawn vectors with every codec."""
    folder = tmp_path_factory.mktemp("bench")
    arguments = ["--rows", "2000", "--dim", "32", "--count", "20", "--turns", "1", "--seconds", "0.05"]
    files = ["--folder", str(folder / "kept"), "--json", str(folder / "b.json"), "--plot", str(folder / "b.png")]
    result = CliRunner().invoke(lookalike.app, ["bench", "index", *arguments, *files], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (folder / "output").write_text(result.output)
    return folder


def test_every_codec_reaches_the_recall_it_is_tuned_to(measured: Path) -> None:
    report = json.loads((measured / "b.json").read_text())
    assert [found["name"] for found in report["contenders"]] == [f"lookalike {codec}" for codec in CODECS]
    for found in report["contenders"]:
        assert found["error"] == ""
        assert 0 < found["resident_bytes"] < found["disk_bytes"]
        assert found["build_seconds"] > 0
        assert found["build_peak_mb"] > 10
        assert found["search_own_mb"] > 10
        assert found["search_mapped_mb"] > 10
        assert {(case["modality"], case["kind"]) for case in found["cases"]} == {
            (modality, kind) for modality in ("image", "text") for kind in ("none", "unrelated", "random")
        }
        for case in found["cases"]:
            assert case["recall_at_100"] >= 0.95
            assert case["qps"] == max(case["turns"]) > 0
            assert 0 < case["p50_ms"] <= case["p99_ms"]
            assert case["first_ms"] > 0
            assert 0 < case["queries"] <= 20
            assert (case["qps_all"] > 0) == (case["kind"] == "none")
            assert case["setting"] in [point["setting"] for point in case["curve"]]


def test_tables_and_plot_show_every_codec(measured: Path) -> None:
    output = (measured / "output").read_text()
    for codec in CODECS:
        assert output.count(f"lookalike {codec}") >= 4
    with Image.open(measured / "b.png") as picture:
        assert picture.width > 1000
        assert len(np.unique(np.asarray(picture.convert("L").resize((64, 64))))) > 10


@pytest.fixture
def data(tmp_path: Path) -> IndexData:
    return drawn_data(1000, 16, 0, 30, tmp_path)


def fake(*indexes: str) -> Mapping[str, Peer]:
    return {"fake": Peer(FAKE, (), indexes, "a fake")}


def measure(data: IndexData, peers: Mapping[str, Peer], folder: Path, **options: Any) -> IndexReport:
    chosen = RunOptions(**({"turns": 2, "seconds": 0.05, "timeout": 60.0} | options))
    return measure_indexes(data, [], peers, folder, chosen, QUIET)


def test_peer_gets_the_vectors_queries_filters_and_threads_of_the_task(data: IndexData, tmp_path: Path) -> None:
    report = measure(data, fake("exact"), tmp_path / "peers")
    (found,) = report.contenders
    assert (found.error, found.name, found.note, found.resident_bytes) == ("", "fake exact", "a fake", 64.0)
    assert len(found.cases) == 10
    for case in found.cases:
        assert case.recall_at_10 == case.recall_at_100 == 1.0
        assert case.setting == {"share": 1.0}  # the cheapest that reaches the target
        assert [point["setting"]["share"] for point in case.curve] == [0.25, 0.5, 1.0, 1.5, 0.75, 0.875]
        assert len(case.turns) == 2


def test_rows_that_a_filter_forbids_count_as_not_found(data: IndexData, tmp_path: Path) -> None:
    (found,) = measure(data, fake("careless"), tmp_path / "peers").contenders
    recalls = {(case.kind, case.share): case.recall_at_100 for case in found.cases if case.modality == "image"}
    assert recalls.pop(("none", 1.0)) == 1.0
    assert max(recalls.values()) < 0.5


def test_peer_that_dies_costs_its_own_row_only(data: IndexData, tmp_path: Path) -> None:
    report = measure(data, fake("dies", "ends", "exact"), tmp_path / "peers", filters=False)
    errors = {found.index: found.error for found in report.contenders}
    assert errors["dies"] == "build: ended with code 1: RuntimeError: no such luck"
    assert errors["ends"].startswith("tune: ended by signal 6")
    assert errors["exact"] == ""
    assert [found.index for found in report.measured] == ["exact"]
    first = tables(report)[0]
    assert first.row_count == 3


def test_peer_that_hangs_is_ended_with_what_it_started(data: IndexData, tmp_path: Path) -> None:
    report = measure(data, fake("hangs"), tmp_path / "peers", timeout=8.0)
    assert report.contenders[0].error == "build: took more than 8 s"
    child = int(next(data.folder.rglob("child")).read_text())
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_index_without_filters_says_so(data: IndexData, tmp_path: Path) -> None:
    (found,) = measure(data, fake("unfiltered"), tmp_path / "peers").contenders
    assert {case.unmeasured for case in found.cases if case.kind != "none"} == {"it has no filters"}
    assert all(case.qps > 0 for case in found.cases if case.kind == "none")


def test_built_index_is_kept_for_the_next_run(data: IndexData, tmp_path: Path) -> None:
    first = measure(data, fake("exact"), tmp_path / "peers", filters=False)
    again = measure(data, fake("exact"), tmp_path / "peers", filters=False, target=0.35)
    assert next(data.folder.rglob("builds")).read_text() == "built\n"
    assert again.contenders[0].build_seconds == first.contenders[0].build_seconds
    assert again.contenders[0].cases[0].setting == {"share": 0.375}


def test_peer_that_cannot_be_installed_is_reported(data: IndexData, tmp_path: Path) -> None:
    peers = {"fake": Peer(FAKE, ("--no-index", "no-such-package-as-this"), ("exact",))}
    report = measure(data, peers, tmp_path / "peers", filters=False)
    assert report.contenders[0].error.startswith("install: fake could not be installed")
    assert "no-such-package-as-this" in report.contenders[0].error


def test_peers_and_indexes_are_chosen_by_name() -> None:
    assert list(chosen_peers("lancedb, usearch")) == ["lancedb", "usearch"]
    assert chosen_peers("usearch:i8")["usearch"].indexes == ("i8",)
    assert chosen_peers("lancedb:ivf_rq,lancedb:ivf_pq")["lancedb"].indexes == ("ivf_rq", "ivf_pq")
    assert chosen_peers("") == {}
    with pytest.raises(InputError, match="no peer 'pinecone'; use some of lancedb"):
        chosen_peers("pinecone")
    with pytest.raises(InputError, match="usearch has no index 'pq'; use one of f16, i8"):
        chosen_peers("usearch:pq")


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_a_script_and_pinned_packages(name: str) -> None:
    assert PEERS[name].script.is_file()
    assert "==" in PEERS[name].requirements[0]
