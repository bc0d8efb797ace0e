"""`lookalike bench filters`: a small run measures every method under every filter, and writes numbers and plot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import lookalike
from artifacts.errors import LookalikeError
from jobs.bench.filters import METHODS
from tests.pipeline import publish_small, small_settings, write_small_catalog

pytestmark = pytest.mark.server


def run_bench(*arguments: str) -> str:
    result = CliRunner().invoke(lookalike.app, ["bench", "filters", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report and the plot of a run over 10,000 drawn vectors."""
    folder = tmp_path_factory.mktemp("bench")
    run_bench(
        *("--rows", "10000", "--dim", "32", "--queries", "20", "--folder", str(folder / "kept")),
        *("--json", str(folder / "out" / "b.json"), "--plot", str(folder / "out" / "b.png")),
    )
    return folder


def test_every_method_is_measured_under_every_filter(measured: Path) -> None:
    report = json.loads((measured / "out/b.json").read_text())
    assert report["name"].startswith("10,000 drawn vectors, 32-d, IVF")
    rows = report["measured"]
    assert {row["method"] for row in rows} == set(METHODS)
    assert {row["modality"] for row in rows} == {"image", "text"}
    shares = {row["share"] for row in rows if row["filter"] == "random"}
    assert shares >= {0.5, 0.1, 0.02, 0.005, 0.001}
    for row in rows:
        assert 0 <= row["recall_at_100"] <= 1
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        if row["method"] == "exact":
            assert row["recall_at_100"] == row["filled"] == 1.0
        if row["method"] == "planned":
            assert row["filled"] == 1.0
            assert row["path"] in ("exact", "ivf")
    planned = [row["recall_at_100"] for row in rows if row["method"] == "planned"]
    assert min(planned) >= 0.95
    assert {crossover["planned"] for crossover in report["crossings"]} <= {"exact", "ivf"}


def test_plot_is_a_picture_with_content(measured: Path) -> None:
    with Image.open(measured / "out/b.png") as picture:
        assert picture.width > 1000
        assert len(np.unique(np.asarray(picture.convert("L").resize((64, 64))))) > 10


def test_published_release_is_searched_with_queries_of_its_catalog(tmp_path: Path) -> None:
    settings = small_settings(tmp_path, flat_max_rows=0)
    publish_small(write_small_catalog(tmp_path / "shop", products=300), settings)
    output = run_bench(
        *("--published", "--releases", settings.releases, "--workspace", settings.workspace, "--queries", "20")
    )
    assert "300 pictures of 2" in output
    assert "IVF" in output


def test_flat_index_is_rejected(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    publish_small(write_small_catalog(tmp_path / "shop"), settings)
    result = CliRunner().invoke(
        lookalike.app,
        ["bench", "filters", "--published", "--releases", settings.releases, "--workspace", settings.workspace],
    )
    assert isinstance(result.exception, LookalikeError)
    assert "flat" in str(result.exception)
