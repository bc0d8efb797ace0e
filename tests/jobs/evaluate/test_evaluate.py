"""The evaluate step: what the gate measures, chooses and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifacts.errors import GateFailed, IncompatibleRelease
from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from artifacts.settings import Settings
from jobs.candidate import load_candidate
from jobs.evaluate.calibration import recall
from jobs.evaluate.queries import draw_queries
from jobs.evaluate.report import render_report
from jobs.evaluate.results import Evaluation
from jobs.evaluate.step import run_evaluate
from jobs.evaluate.truth import scores
from jobs.publish import run_publish
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.workspace import EVALUATION, REPORT
from tests.encoders import ColourWords
from tests.pipeline import prepare, prepared, publish_small, run_index, small_settings, write_small_catalog

pytestmark = pytest.mark.slow


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_small_catalog(tmp_path / "shop")


def test_gate_measures_both_modalities_and_writes_the_report(catalog: Path, tmp_path: Path) -> None:
    context = prepared(catalog, small_settings(tmp_path))
    run_index(context)
    result = run_evaluate(context)
    assert result.changed
    assert result.report.passed
    assert result.report.recall == {"image@10": 1.0, "image@100": 1.0, "text@10": 1.0, "text@100": 1.0}
    evaluation = json.loads(context.workspace.candidate.read_text(EVALUATION))
    assert {measured["kind"] for measured in evaluation["kinds"]} == {"image", "text"}
    assert len(evaluation["filters"]) >= 10
    report = context.workspace.candidate.read_text(REPORT)
    assert "Passed." in report
    assert "catalog rows" in report
    assert "data:image/png;base64," in report


def test_gate_measures_an_unchanged_candidate_once(catalog: Path, tmp_path: Path) -> None:
    context = prepared(catalog, small_settings(tmp_path))
    run_index(context)
    run_evaluate(context)
    assert not run_evaluate(context).changed
    run_publish(context)
    run_index(context)  # the candidate is now compared with itself, being served
    assert not run_evaluate(context).changed
    other = replace(context.config, gate=replace(context.config.gate, seed=1))
    assert run_evaluate(replace(context, config=other)).changed


def test_candidate_measured_by_version_0_1_is_not_measured_again(catalog: Path, tmp_path: Path) -> None:
    context = prepared(catalog, small_settings(tmp_path))
    run_index(context)
    candidate = run_evaluate(context).report
    knobs = {"recall_target": 0.95, "max_shrink": 0.3, "evaluation_queries": 20, "seed": 0}
    segments = [segment.info_sha256 for segment in candidate.segments]
    candidate.evaluated = fingerprint(segments, None, knobs)
    candidate.save(context.workspace)
    assert not run_evaluate(context).changed
    candidate.evaluated = fingerprint(segments, 36, knobs)  # compared with another release
    candidate.save(context.workspace)
    assert run_evaluate(context).changed


def test_candidate_of_another_encoder_is_refused(catalog: Path, tmp_path: Path) -> None:
    context = prepared(catalog, small_settings(tmp_path))
    candidate = run_index(context).report
    candidate.encoder["id"] = "of-other-weights"
    candidate.save(context.workspace)
    with pytest.raises(IncompatibleRelease, match=r"embedded with of-other-weights, not .*run the build again"):
        run_evaluate(context)


def test_report_escapes_what_a_catalog_names(catalog: Path, tmp_path: Path) -> None:
    context = prepared(catalog, small_settings(tmp_path))
    candidate = run_index(context).report
    page = render_report(candidate, Evaluation([], [], 0.95, None, 36, ["color = <script>"], 1.0))
    assert "<p class=bad>color = &lt;script&gt;</p>" in page
    assert "Passed." not in page


def test_queries_are_other_views_of_the_pictures(catalog: Path, tmp_path: Path) -> None:
    context = prepared(catalog, small_settings(tmp_path))
    candidate = run_index(context).report
    encoder = ColourWords()
    image, text = draw_queries(context.workspace, encoder, 20, seed=1)
    assert (image.modality, text.modality) == ("image", "text")
    assert len(image.product_ids) == len(text.product_ids) == 20
    manifest = candidate.manifest()
    release = Release(manifest, context.store.fetch(manifest))
    own = np.array([release.product_vectors(product_id)[0] for product_id in image.product_ids])
    assert (np.abs(own - image.vectors).max(axis=1) > 1e-3).all()
    assert np.median((own * image.vectors).sum(axis=1)) > 0.95
    release.close()
    again = draw_queries(context.workspace, encoder, 20, seed=1)[0]
    assert np.array_equal(again.vectors, image.vectors)


@pytest.mark.parametrize("codec", ["pq", "opq", "rabitq", "sq8", "hnsw"])
def test_gate_chooses_parameters_for_an_approximate_index(tmp_path: Path, codec: str) -> None:
    catalog = write_small_catalog(tmp_path / "shop", products=300)  # product quantizers need 256 rows to train on
    settings = small_settings(tmp_path, flat_max_rows=0, codec=codec)
    context = prepared(catalog, settings)
    run_index(context)
    candidate = run_evaluate(context).report
    assert set(candidate.search) == {"image", "text"}
    assert min(candidate.recall.values()) >= settings.recall_target
    manifest = candidate.manifest()
    release = Release(manifest, context.store.fetch(manifest))
    queries = draw_queries(context.workspace, ColourWords(), 20, seed=settings.seed)[0]
    hits, plan = release.search(queries.vectors, 100, candidate.search["image"])
    assert plan.path == ("hnsw" if codec == "hnsw" else "ivf")
    exact, _ = release.search(queries.vectors, 100, SearchParams(), exact=True)
    found, truth = ([scores(query_hits) for query_hits in of_all] for of_all in (hits, exact))
    assert recall(found, truth, 100) == pytest.approx(candidate.recall["image@100"], abs=1e-4)
    release.close()
    evaluation = json.loads(context.workspace.candidate.read_text(EVALUATION))
    trials = [trial for kind in evaluation["kinds"] for trial in kind["trials"]]
    assert all(0 < trial["recall_at_10"] <= 1 for trial in trials)
    index = evaluation["index"]
    assert (index["codec"], index["rows"], index["part_rows"]) == (codec, 300, [300])
    assert (index["lists"] > 0) == (index["imbalance"] is not None) == (codec != "hnsw")
    assert index["reasons"]


def test_candidate_below_the_recall_target_is_not_published(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small_settings(tmp_path)
    _, first = publish_small(catalog, settings)
    search = Release.search

    def lossy(self: Release, *args: object, exact: bool = False, **kwargs: object) -> object:
        hits, plan = search(self, *args, exact=exact, **kwargs)  # type: ignore[arg-type]
        return ([query_hits if exact else query_hits[1::2] for query_hits in hits], plan)

    monkeypatch.setattr(Release, "search", lossy)
    (catalog.parent / "images/000.jpg").write_bytes((catalog.parent / "images/001.jpg").read_bytes())
    context = prepared(catalog, settings)
    run_index(context)
    with pytest.raises(
        GateFailed, match=r"recall@100 of image queries is 0\.\d+, below the target 0\.95.*report\.html"
    ):
        run_evaluate(context)
    with pytest.raises(GateFailed):
        run_publish(context)
    assert context.store.current() == first.version
    assert context.store.versions() == [first.version]
    assert "below the target" in context.workspace.candidate.read_text(REPORT)


def test_catalog_that_shrank_too_far_is_not_published(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    _, first = publish_small(catalog, settings)
    write_small_catalog(catalog.parent, products=12)
    with pytest.raises(GateFailed, match=r"12 products, 36 in the release being served: 67% would be gone"):
        publish_small(catalog, settings)
    workspace, store = prepare(catalog, settings)
    assert store.current() == first.version
    assert not load_candidate(workspace).passed
    # a higher limit publishes it, and later builds have nothing to do
    _, second = publish_small(catalog, settings.model_copy(update={"max_shrink": 0.9}))
    assert store.current() == second.version != first.version
    assert publish_small(catalog, settings)[1].unchanged


def test_measured_candidate_is_judged_by_what_is_served_now(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    write_small_catalog(catalog.parent, products=12)
    context = prepared(catalog, settings)
    run_index(context)
    run_evaluate(context)
    # in the meantime another workspace publishes three times as many products
    other = write_small_catalog(tmp_path / "other", products=36)
    publish_small(other, settings.model_copy(update={"workspace": str(tmp_path / "elsewhere")}))
    run_index(context)
    with pytest.raises(GateFailed, match=r"12 products, 36 in the release being served"):
        run_evaluate(context)


def test_chosen_parameters_are_published(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, flat_max_rows=0)
    publish_small(catalog, settings)
    manifest = prepare(catalog, settings)[1].manifest()
    assert all(isinstance(params, SearchParams) for params in manifest.search.values())
    assert manifest.recall["image@100"] >= 0.95


def test_settings_of_a_release_are_recorded(catalog: Path, tmp_path: Path) -> None:
    settings: Settings = small_settings(tmp_path, seed=3)
    publish_small(catalog, settings)
    manifest = prepare(catalog, settings)[1].manifest()
    assert manifest.settings["seed"] == 3
    assert manifest.settings["codec"] == "pq"
    assert manifest.packages["duckdb"]
    assert manifest.counts.indexed == 36
    assert manifest.source.endswith("catalog.csv")
