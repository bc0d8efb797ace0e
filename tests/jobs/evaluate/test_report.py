"""The gate's report: what it says of the index, and sample searches with their pictures."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifacts.config import IndexConfig
from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from jobs.candidate import Candidate
from jobs.evaluate.index_facts import imbalance, index_facts
from jobs.evaluate.queries import QuerySet
from jobs.evaluate.report import render_report
from jobs.evaluate.results import Evaluation, IndexFacts, ModalityResult, Trial
from jobs.evaluate.samples import sample_searches
from tests.artifacts.building import (
    INDEXED,
    open_release,
    product_table,
    queries_like,
    unit_vectors,
    write_delta,
    write_segment,
)

VECTORS = unit_vectors(900)
JPEG = io.BytesIO()
Image.new("RGB", (640, 480), (200, 30, 40)).save(JPEG, "JPEG")
PRODUCTS = product_table(
    [f"p{row}" for row in range(900)],
    title=[f"<b>title</b> {row}" for row in range(900)],
    image_url=[f"https://shop.example/{row}.jpg" if row % 2 else f"{row}.jpg" for row in range(900)],
)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    settings = INDEXED.model_copy(update={"rows_per_index": 400})
    thumbnails = [None if row % 2 else JPEG.getvalue() for row in range(900)]
    write_segment(tmp_path / "base", VECTORS, PRODUCTS, settings=settings, thumbnails=thumbnails)
    write_delta(tmp_path / "delta", tmp_path / "base", unit_vectors(3, seed=9), product_table(["a", "b", "c"]))
    return open_release(tmp_path / "base", tmp_path / "delta")


def evaluation(index: IndexFacts | None = None, trials: int = 0, nprobe: int = 64) -> Evaluation:
    measured = [Trial(nprobe, 4, 0.9, 1.0, 0.95)] * trials
    result = ModalityResult("image", 20, SearchParams(nprobe), 1.0, 1.0, 1.0, 0.1, 0.2, measured)
    return Evaluation([result], [], 0.95, None, 900, [], 1.0, index)


def candidate(release: Release) -> Candidate:
    manifest = release.manifest
    return Candidate(
        expected=None,
        source="",
        encoder=manifest.encoder,
        segments=manifest.segments,
        counts=manifest.counts,
        settings={},
    )


def test_imbalance_is_one_if_all_lists_are_of_one_size() -> None:
    assert imbalance(np.array([5, 5, 5, 5])) == 1
    assert imbalance(np.array([20, 0, 0, 0])) == 4
    assert imbalance(np.array([3, 1])) == 2 * 10 / 16
    assert imbalance(np.zeros(4, np.int64)) == 0


def test_facts_are_those_of_the_base(release: Release) -> None:
    config = replace(INDEXED.pipeline.index, rows_per_index=400)
    facts = index_facts(release, config, count_lists=True)
    assert (facts.codec, facts.rows, facts.part_rows, facts.delta_rows) == ("pq", 900, [400, 400, 100], 3)
    assert facts.lists == 128
    assert facts.row_bytes == 2 + 8 + 4
    assert facts.imbalance is not None
    assert 1 <= facts.imbalance < 4
    assert facts.largest_list is not None
    assert facts.largest_list >= 900 / 128
    assert facts.drift is not None
    folder = release.base.folder
    assert facts.part_bytes[2] == sum(path.stat().st_size for path in (folder / "part-00002").iterdir())
    assert facts.reasons[0] == "The codec is pq, the default."
    cheap = index_facts(release, config, count_lists=False)
    assert (cheap.imbalance, cheap.largest_list, cheap.empty_lists) == (None, None, None)
    release.close()


@pytest.mark.parametrize("other", [IndexConfig(codec="sq8", flat_max_rows=0), IndexConfig(), IndexConfig(nlist=901)])
def test_index_that_would_be_chosen_otherwise_has_no_reasons(release: Release, other: IndexConfig) -> None:
    assert index_facts(release, other, count_lists=False).reasons == []
    release.close()


def test_report_shows_the_index(release: Release) -> None:
    facts = index_facts(release, INDEXED.pipeline.index, count_lists=True)
    page = render_report(candidate(release), evaluation(facts))
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for words in (
        "The index The codec is pq, the default. 128 IVF lists, the power of two nearest to 4·√rows.",
        "codec pq (IVF128,PQ2)",
        "resident memory of a row 14 bytes",
        f"imbalance of the lists (1: all of one size) {facts.imbalance:.2f}",
        "part rows on disk 0 400",
        "rows of the delta 3",
        "drift of the quantizer",
    ):
        assert words in text
    assert "The index is flat" not in text
    release.close()


def test_report_names_the_depth_of_a_graph_as_faiss_does(release: Release) -> None:
    facts = index_facts(release, INDEXED.pipeline.index, count_lists=False)
    graph = replace(facts, codec="hnsw", lists=0)
    assert ">efSearch</th>" in render_report(candidate(release), evaluation(graph, trials=3))
    assert ">nprobe</th>" in render_report(candidate(release), evaluation(facts, trials=3))
    flat = replace(facts, codec="flat", lists=0)
    assert "The index is flat: every search is exact" in render_report(candidate(release), evaluation(flat))
    release.close()


def test_many_parts_are_cut_to_the_smallest_and_the_largest(release: Release) -> None:
    facts = index_facts(release, INDEXED.pipeline.index, count_lists=False)
    many = replace(facts, part_rows=list(range(100, 200)), part_bytes=[1000] * 100)
    page = render_report(candidate(release), evaluation(many))
    shown = [int(rows) for rows in re.findall(r"<td class=n>\d+</td><td class=n>(1\d\d)</td><td>1 KB</td>", page)]
    assert shown == [*range(100, 110), *range(190, 200)]
    release.close()


def test_sample_searches_show_pictures_and_escape_titles(release: Release) -> None:
    queries = queries_like(VECTORS, 6)
    sets = [
        QuerySet("image", queries[:3], ["p1", "p2", "p3"], {0: JPEG.getvalue(), 2: JPEG.getvalue()}),
        QuerySet("text", queries[3:], ["p4", "p5", "p6"], {1: "<i>red</i> shoe"}),
    ]
    samples = sample_searches(release, sets, {"image": SearchParams(128, 8)})
    assert [(sample.text, sample.product_id, len(sample.results)) for sample in samples] == [
        (None, "p1", 8), (None, "p3", 8), ("<i>red</i> shoe", "p5", 8),
    ]  # fmt: skip
    pictures = {result.product_id: result.picture for sample in samples for result in sample.results}
    for product_id, picture in pictures.items():
        number = int(product_id[1:]) if product_id[0] == "p" else None
        if number is None:
            assert picture is None  # stored nowhere, and no public URL
        elif number % 2:
            assert picture == f"https://shop.example/{number}.jpg"
        else:
            assert picture is not None
            jpeg = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))
            assert max(Image.open(io.BytesIO(jpeg)).size) == 128
    page = render_report(candidate(release), evaluation(), samples)
    assert "<b>&lt;i&gt;red&lt;/i&gt; shoe</b>" in page
    assert "&lt;b&gt;title&lt;/b&gt;" in page
    assert "<b>title</b>" not in page
    assert page.count("<img") == sum(
        bool(sample.picture) + sum(bool(r.picture) for r in sample.results) for sample in samples
    )
    release.close()


def test_queries_that_are_not_shown_make_no_samples(release: Release) -> None:
    shown = QuerySet("image", queries_like(VECTORS, 4), ["p1", "p2", "p3", "p4"], {0: JPEG.getvalue()})
    assert sample_searches(release, [shown.first(2)], {}) == []
    assert "Sample searches" not in render_report(candidate(release), evaluation())
    release.close()
