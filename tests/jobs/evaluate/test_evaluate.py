"""Step 5: what the gate measures, chooses and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from artifacts.errors import GateFailed
from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from artifacts.settings import Settings
from jobs.candidate import load_candidate
from jobs.evaluate.calibration import recall
from jobs.evaluate.measure import exact, scores
from jobs.evaluate.queries import draw_queries
from jobs.evaluate.step import run_evaluate
from jobs.index.step import run_index
from jobs.publish import run_publish
from tests.encoders import ColourWords
from tests.pipeline import prepare, publish_small, small_settings, write_small_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_small_catalog(tmp_path / "shop")


def test_measures_both_kinds_and_writes_the_report(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    workspace, store = prepare(catalog, settings)
    run_index(workspace, store, settings)
    candidate, same = run_evaluate(workspace, store, settings, shards=2)
    assert candidate.passed
    assert not same
    assert candidate.recall == {"image@10": 1.0, "image@100": 1.0, "text@10": 1.0, "text@100": 1.0}
    evaluation = json.loads(workspace.read_text("candidate/evaluation.json"))
    assert {result["kind"] for result in evaluation["kinds"]} == {"image", "text"}
    assert len(evaluation["filters"]) >= 10
    report = workspace.read_text("candidate/report.html")
    assert "Passed." in report
    assert "catalog rows" in report
    assert "data:image/png;base64," in report
    assert run_evaluate(workspace, store, settings, shards=2)[1]  # measured already


def test_queries_are_other_views_never_the_pictures_themselves(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    workspace, store = prepare(catalog, settings)
    candidate = run_index(workspace, store, settings).candidate
    encoder = ColourWords()
    image, text = draw_queries(workspace, 2, encoder, 20, seed=1)
    assert (image.kind, text.kind) == ("image", "text")
    assert len(image.product_ids) == len(text.product_ids) == 20
    manifest = candidate.manifest()
    release = Release(manifest, store.fetch(manifest))
    own = np.array([release.product_vectors(product_id)[0] for product_id in image.product_ids])
    assert (np.abs(own - image.vectors).max(axis=1) > 1e-3).all()
    assert np.median((own * image.vectors).sum(axis=1)) > 0.95
    release.close()
    again = draw_queries(workspace, 2, encoder, 20, seed=1)[0]
    assert np.array_equal(again.vectors, image.vectors)


@pytest.mark.parametrize("codec", ["pq", "rabitq", "sq8"])
def test_chooses_parameters_for_an_ivf_index(tmp_path: Path, codec: str) -> None:
    catalog = write_small_catalog(tmp_path / "shop", products=300)  # product quantizers need 256 rows to train on
    settings = small_settings(tmp_path, flat_max_rows=0, codec=codec)
    workspace, store = prepare(catalog, settings)
    run_index(workspace, store, settings)
    candidate, _ = run_evaluate(workspace, store, settings, shards=2)
    assert set(candidate.search) == {"image", "text"}
    assert min(candidate.recall.values()) >= settings.recall_target
    manifest = candidate.manifest()
    release = Release(manifest, store.fetch(manifest))
    queries = draw_queries(workspace, 2, ColourWords(), 20, seed=settings.seed)[0]
    found, plans = release.search(queries.vectors, 100, candidate.search["image"])
    assert plans[0].path == "ivf"
    assert recall(scores(found), scores(exact(release, queries.vectors, 100)), 100) == pytest.approx(
        candidate.recall["image@100"], abs=1e-4
    )
    release.close()


def test_below_the_target_nothing_is_published(catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small_settings(tmp_path)
    _, first = publish_small(catalog, settings)
    search = Release.search

    def lossy(self: Release, *args: object, exact: bool = False, **kwargs: object) -> object:
        found, plans = search(self, *args, exact=exact, **kwargs)  # type: ignore[arg-type]
        return ([each if exact else each[1::2] for each in found], plans)

    monkeypatch.setattr(Release, "search", lossy)
    (catalog.parent / "images/000.jpg").write_bytes((catalog.parent / "images/001.jpg").read_bytes())
    workspace, store = prepare(catalog, settings)
    run_index(workspace, store, settings)
    with pytest.raises(
        GateFailed, match=r"recall@100 of image queries is 0\.\d+, below the target 0\.95.*report\.html"
    ):
        run_evaluate(workspace, store, settings, shards=2)
    with pytest.raises(GateFailed):
        run_publish(workspace, store, settings)
    assert store.current() == first.version
    assert store.versions() == [first.version]
    assert "below the target" in workspace.read_text("candidate/report.html")


def test_a_catalog_that_shrank_too_far_is_not_published(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    _, first = publish_small(catalog, settings)
    write_small_catalog(catalog.parent, products=12)
    with pytest.raises(GateFailed, match=r"12 products, 36 in the release being served: 67% would be gone"):
        publish_small(catalog, settings)
    workspace, store = prepare(catalog, settings)
    assert store.current() == first.version
    assert not load_candidate(workspace).passed
    # saying that this is meant lets it through
    _, second = publish_small(catalog, settings.model_copy(update={"max_shrink": 0.9}))
    assert store.current() == second.version != first.version


def test_parameters_are_served_as_chosen(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, flat_max_rows=0)
    publish_small(catalog, settings)
    manifest = prepare(catalog, settings)[1].manifest()
    assert all(isinstance(params, SearchParams) for params in manifest.search.values())
    assert manifest.recall["image@100"] >= 0.95


def test_settings_of_the_release_are_recorded(catalog: Path, tmp_path: Path) -> None:
    settings: Settings = small_settings(tmp_path, seed=3)
    publish_small(catalog, settings)
    manifest = prepare(catalog, settings)[1].manifest()
    assert manifest.settings["seed"] == 3
    assert manifest.settings["codec"] == "pq"
    assert manifest.packages["duckdb"]
    assert manifest.counts.indexed == 36
    assert manifest.source.endswith("catalog.csv")
