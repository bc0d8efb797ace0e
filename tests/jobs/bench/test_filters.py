"""`lookalike bench filters`: a small run measures what it says, writes its numbers and its picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import lookalike
from artifacts.errors import LookalikeError
from artifacts.settings import Settings
from jobs.bench.catalog import drawn_catalog
from jobs.bench.filters import METHODS
from jobs.bench.vectors import ClipLike
from tests.pipeline import publish_small, small_settings, write_small_catalog


def bench(*arguments: str) -> str:
    result = CliRunner().invoke(lookalike.app, ["bench", "filters", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers and picture of a run over 10,000 drawn vectors."""
    folder = tmp_path_factory.mktemp("bench")
    bench(
        *("--rows", "10000", "--dim", "32", "--queries", "20", "--folder", str(folder / "kept")),
        *("--json", str(folder / "out" / "b.json"), "--plot", str(folder / "out" / "b.png")),
    )
    return folder


def test_every_filter_and_method_is_measured(measured: Path) -> None:
    found = json.loads((measured / "out/b.json").read_text())
    assert found["name"].startswith("10,000 drawn vectors, 32-d, IVF")
    rows = found["measured"]
    assert {each["method"] for each in rows} == set(METHODS)
    assert {each["queries"] for each in rows} == {"image", "text"}
    shares = {each["share"] for each in rows if each["filter"] == "random"}
    assert shares >= {0.5, 0.1, 0.02, 0.005, 0.001}
    for each in rows:
        assert 0 <= each["recall_at_100"] <= 1
        assert 0 < each["p50_ms"] <= each["p99_ms"]
        if each["method"] == "exact":
            assert each["recall_at_100"] == each["filled"] == 1.0
        if each["method"] == "planned":
            assert each["filled"] == 1.0  # as many as asked for, while there are any
            assert each["path"] in ("exact", "ivf")
    planned = [each["recall_at_100"] for each in rows if each["method"] == "planned"]
    assert min(planned) >= 0.95
    assert {each["planned"] for each in found["crossings"]} <= {"exact", "ivf"}


def test_the_picture_is_one(measured: Path) -> None:
    with Image.open(measured / "out/b.png") as picture:
        assert picture.width > 1000
        assert len(np.unique(np.asarray(picture.convert("L").resize((64, 64))))) > 10


def test_the_index_is_kept_for_the_next_run(measured: Path, tmp_path: Path) -> None:
    kept = next((measured / "kept").iterdir())
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    settings = Settings()
    again = drawn_catalog(10_000, 32, 20, settings, kept.parent)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    again.segment.close()
    # other settings, another index
    other = drawn_catalog(10_000, 32, 20, settings.model_copy(update={"seed": 1}), kept.parent)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} != before
    other.segment.close()


def test_a_published_release_is_searched_with_queries_of_its_own(tmp_path: Path) -> None:
    settings = small_settings(tmp_path, flat_max_rows=0)
    publish_small(write_small_catalog(tmp_path / "shop", products=300), settings)
    output = bench("--published", "--releases", settings.releases, "--workspace", settings.workspace, "--queries", "20")
    assert "300 pictures of 2" in output
    assert "IVF" in output


def test_a_flat_index_has_nothing_to_measure(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    publish_small(write_small_catalog(tmp_path / "shop"), settings)
    result = CliRunner().invoke(
        lookalike.app,
        ["bench", "filters", "--published", "--releases", settings.releases, "--workspace", settings.workspace],
    )
    assert isinstance(result.exception, LookalikeError)
    assert "flat" in str(result.exception)


def test_drawn_vectors_are_like_clips() -> None:
    """Pictures lie in one cone, texts in another: within more alike than across, as CLIP's are."""
    space = ClipLike(64, 0)
    pictures = next(space.pictures(500, 1))
    texts = space.texts(500, 2)
    within = (pictures.vectors @ pictures.vectors.T).mean()
    across = (texts.vectors @ pictures.vectors.T).mean()
    assert within > 0.2
    assert across < within / 2
    # what is of one category is more alike
    same = pictures.categories[:, None] == pictures.categories[None, :]
    alike = pictures.vectors @ pictures.vectors.T
    assert alike[same].mean() > alike[~same].mean() + 0.1
    assert (next(space.pictures(500, 1)).vectors == pictures.vectors).all()
