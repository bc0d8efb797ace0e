"""Segments: every path gives the same scores, filters hold, enough rows come back, damage is noticed."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from artifacts.errors import CorruptFile, IncompatibleRelease
from artifacts.index import planner
from artifacts.index.params import MIN_TRAIN_ROWS, SearchParams
from artifacts.segments.info import verify_segment
from artifacts.segments.segment import Segment
from artifacts.segments.writer import SegmentWriter, training_rows
from artifacts.settings import Settings
from tests.artifacts.building import (
    INDEXED,
    force,
    open_release,
    product_table,
    queries_like,
    unit_vectors,
    write_segment,
)

ROWS = 1500
#: A dimension that 8 does not divide.
ODD_DIM = 20

LAYOUTS: dict[str, dict[str, Any]] = {
    "pq": {"codec": "pq"},
    "rabitq": {"codec": "rabitq"},
    "sq8": {"codec": "sq8"},
    "pq in 3 files": {"codec": "pq", "rows_per_index": 600},
    "rabitq in 3 files": {"codec": "rabitq", "rows_per_index": 600},
    "flat": {"codec": "flat"},
}
VECTORS = unit_vectors(ROWS, ODD_DIM, clusters=30)
QUERIES = queries_like(VECTORS, 12)
DEEP = SearchParams(nprobe=64, rescore=8)


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Segment]:
    made = {}
    for name, layout in LAYOUTS.items():
        folder = tmp_path_factory.mktemp("layouts") / name
        write_segment(folder, VECTORS, settings=INDEXED.model_copy(update=layout))
        made[name] = Segment(folder)
    return made


@pytest.fixture(params=LAYOUTS)
def segment(request: pytest.FixtureRequest, segments: dict[str, Segment]) -> Segment:
    return segments[request.param]


@pytest.fixture(params=["scan", "probe"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether allowed rows are scored one by one or looked for in the index."""
    force(monkeypatch, request.param)
    return request.param


def truth(query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = VECTORS[rows].astype(np.float64) @ query.astype(np.float64)
    order = np.argsort(-scores, kind="stable")[:k]
    return scores[order], rows[order]


# ── searching ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_scores_are_those_of_numpy(segment: Segment):
    found, _ = segment.search(QUERIES, 50, DEEP)
    for query, each in zip(QUERIES, found, strict=True):
        np.testing.assert_allclose(each.scores, VECTORS[each.rows].astype(float) @ query.astype(float), atol=1e-5)
        assert (np.diff(each.scores) <= 0).all()
        assert len(set(each.rows)) == 50


def test_all_paths_give_the_same_score_to_the_last_bit(segments: dict[str, Segment], monkeypatch: pytest.MonkeyPatch):
    scores: dict[int, set[float]] = {}
    paths = set()

    def note(segment: Segment, **options: Any) -> None:
        found, plan = segment.search(QUERIES[:1], 200, DEEP, **options)
        paths.add(plan.path)
        for score, row in zip(found[0].scores, found[0].rows, strict=True):
            scores.setdefault(int(row), set()).add(float(score))

    for segment in segments.values():
        note(segment)
        note(segment, path="exact")
        for path in ("scan", "probe"):
            force(monkeypatch, path)
            note(segment, row_filter=segment.row_filter(np.arange(0, ROWS, 2)))
    assert paths == {"flat", "exact", "ivf"}
    assert len(scores) > 150
    assert all(len(each) == 1 for each in scores.values())


@pytest.mark.parametrize("share", [2, 7, 100])
def test_filters_hold_and_enough_comes_back(segment: Segment, path: str, share: int):
    rows = np.arange(3, ROWS, share)
    allowed = segment.row_filter(rows)
    found, plan = segment.search(QUERIES, 40, SearchParams(2, 1), allowed)
    assert plan.allowed == len(rows)
    for each in found:
        assert set(each.rows) <= set(rows)
        assert len(each.rows) == min(40, len(rows))
    assert plan.path == ("exact" if path == "scan" else "flat" if segment.flat else "ivf")


@pytest.mark.parametrize("rows", [[], [7], [0, ROWS - 1]])
@pytest.mark.parametrize("k", [1, 5, 2 * ROWS])
def test_few_allowed_rows(segment: Segment, path: str, rows: list[int], k: int):
    found, _ = segment.search(QUERIES[:3], k, SearchParams(1, 1), segment.row_filter(np.array(rows, np.int64)))
    for query, each in zip(QUERIES, found, strict=False):
        assert list(each.rows) == list(truth(query, np.array(rows, np.int64), k)[1])


def test_all_rows_come_when_more_are_wanted(segment: Segment):
    found, _ = segment.search(QUERIES[:2], 10 * ROWS, SearchParams(1, 1))
    assert all(sorted(each.rows) == list(range(ROWS)) for each in found)


@pytest.mark.parametrize("k", [0, -1])
def test_nothing_wanted(segment: Segment, k: int):
    found, plan = segment.search(QUERIES[:2], k, DEEP)
    assert [len(each.rows) for each in found] == [0, 0]
    assert plan.path == "nothing"


@pytest.mark.parametrize("filtered", [False, True])
def test_recall(segment: Segment, filtered: bool, monkeypatch: pytest.MonkeyPatch):
    force(monkeypatch, "probe")
    rows = np.arange(1, ROWS, 3) if filtered else np.arange(ROWS)
    queries = queries_like(VECTORS, 60, seed=8)
    found, _ = segment.search(queries, 50, DEEP, segment.row_filter(rows) if filtered else None)
    hits = [len(set(each.rows) & set(truth(query, rows, 50)[1])) for query, each in zip(queries, found, strict=True)]
    assert sum(hits) / (50 * len(queries)) >= 0.95


@pytest.mark.parametrize("queries", [1, 4, 5, 40])
@pytest.mark.parametrize("filtered", [False, True])
def test_exact_is_exact_for_few_queries_and_many(segment: Segment, queries: int, filtered: bool):
    rows = np.arange(0, ROWS, 5) if filtered else np.arange(ROWS)
    vectors = queries_like(VECTORS, queries, seed=4)
    found, plan = segment.search(vectors, 30, DEEP, segment.row_filter(rows) if filtered else None, path="exact")
    assert plan.path == "exact" or segment.flat
    for query, each in zip(vectors, found, strict=True):
        scores, _ = truth(query, rows, 30)
        np.testing.assert_allclose(each.scores, scores, atol=1e-5)
        assert set(each.rows) <= set(rows)


def test_a_batch_answers_as_each_query_alone(segment: Segment):
    together, _ = segment.search(QUERIES, 20, DEEP)
    for query, each in zip(QUERIES, together, strict=True):
        alone, _ = segment.search(query[None, :], 20, DEEP)
        assert list(alone[0].rows) == list(each.rows)
        assert list(alone[0].scores) == list(each.scores)


def test_threads_get_the_answers_they_would_get_alone(segment: Segment, path: str):
    filters = [np.arange(start, ROWS, 2 + start) for start in range(8)]

    def ask(number: int) -> list[list[Any]]:
        found, _ = segment.search(QUERIES, 15, SearchParams(4, 4), segment.row_filter(filters[number % 8]))
        return [[each.rows.tolist(), each.scores.tolist()] for each in found]

    alone = [ask(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(48)))
    assert together == alone * 6


@pytest.mark.parametrize("most", [10, 10**6])
def test_allow(segment: Segment, most: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planner, "EXACT_ROWS_AT_MOST", most)
    rows, without = np.arange(0, ROWS, 3), np.arange(0, ROWS, 9)
    allowed = segment.row_filter(rows, without)
    assert allowed.rows.tolist() == sorted(set(rows) - set(without))
    assert allowed.count == len(allowed.rows)
    assert segment.row_filter(None).rows.tolist() == list(range(ROWS))
    assert (allowed.row_ids is None) == (most == 10)
    if allowed.rows_per_list is not None and segment.lists is not None:
        assert allowed.rows_per_list.sum() == allowed.count
        assert (
            allowed.rows_per_list == np.bincount(segment.lists[allowed.rows], minlength=segment.info.index.lists)
        ).all()


# ── odd contents ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_rows(tmp_path: Path, layout: str):
    write_segment(tmp_path / "s", unit_vectors(0), settings=INDEXED.model_copy(update=LAYOUTS[layout]))
    segment = Segment(tmp_path / "s")
    found, plan = segment.search(queries_like(unit_vectors(3), 2), 5, DEEP)
    assert [len(each.rows) for each in found] == [0, 0]
    assert plan.path == "nothing"
    assert len(segment.products.rows_of(["p1"])) == 0
    assert segment.products.product_ids(np.empty(0, np.int64)) == []
    segment.close()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [1, 100, 256, 257])
def test_few_rows(tmp_path: Path, layout: str, rows: int):
    """Fewer than lists, and fewer than a product quantizer is trained on: flat, not an error."""
    vectors = unit_vectors(rows)
    info = write_segment(tmp_path / "s", vectors, settings=INDEXED.model_copy(update=LAYOUTS[layout]))
    assert (info.index.codec == "flat") == (rows <= MIN_TRAIN_ROWS or layout == "flat")
    segment = Segment(tmp_path / "s")
    found, _ = segment.search(vectors[:1].astype(np.float32), rows + 5, DEEP)
    assert sorted(found[0].rows) == list(range(rows))
    assert found[0].rows[0] == 0
    segment.close()


@pytest.mark.parametrize("layout", ["pq", "rabitq", "sq8", "flat", "pq in 3 files"])
def test_identical_vectors(tmp_path: Path, layout: str, path: str):
    vectors = np.repeat(unit_vectors(1), 700, axis=0)
    write_segment(tmp_path / "s", vectors, settings=INDEXED.model_copy(update=LAYOUTS[layout]))
    segment = Segment(tmp_path / "s")
    found, _ = segment.search(
        vectors[:1].astype(np.float32), 700, SearchParams(1, 1), segment.row_filter(np.arange(700))
    )
    assert found[0].rows.tolist() == list(range(700))
    few, _ = segment.search(
        vectors[:1].astype(np.float32), 10, SearchParams(1, 1), segment.row_filter(np.arange(50, 700))
    )
    assert len(few[0].rows) == 10
    assert set(few[0].scores) == {found[0].scores[0]}
    if path == "scan" or layout == "flat":
        assert few[0].rows.tolist() == list(range(50, 60))
    segment.close()


def test_a_small_training_sample_is_still_enough(tmp_path: Path):
    settings = Settings(flat_max_rows=0, train_rows_per_list=1)
    info = write_segment(tmp_path / "s", unit_vectors(400), settings=settings)
    assert (info.index.codec, info.index.train_rows) == ("pq", 256)


def test_training_rows_are_drawn_from_everywhere():
    rows = training_rows(10_000, 500, seed=3)
    assert len(set(rows)) == 500
    assert rows.tolist() == sorted(rows)
    assert rows.max() > 9000
    assert (training_rows(10_000, 500, seed=3) == rows).all()
    assert not (training_rows(10_000, 500, seed=4) == rows).all()
    assert training_rows(5, 500, seed=0).tolist() == [0, 1, 2, 3, 4]


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_rows_give_the_same_segment(tmp_path: Path, layout: str, segments: dict[str, Segment]):
    write_segment(tmp_path / "s", VECTORS, settings=INDEXED.model_copy(update=LAYOUTS[layout]))
    again, before = Segment(tmp_path / "s"), segments[layout]
    for name, file in before.info.files.items():
        if name != "products.duckdb":  # DuckDB does not promise the same bytes
            assert again.info.files[name] == file, name
    ours, theirs = (each.search(QUERIES, 30, SearchParams(4, 2))[0] for each in (again, before))
    assert [each.rows.tolist() for each in ours] == [each.rows.tolist() for each in theirs]
    again.close()


def test_blocks_do_not_matter(tmp_path: Path):
    products = product_table([f"p{row}" for row in range(700)])
    vectors = unit_vectors(700)
    for name, step in (("a", 700), ("b", 99)):
        writer = SegmentWriter(tmp_path / name, 16)
        for start in range(0, 700, step):
            writer.add(products.slice(start, step), vectors[start : start + step])
        writer.finish("s", "toy", products.schema, INDEXED.pipeline.index)
    a, b = (verify_segment(tmp_path / name).files for name in "ab")
    assert {name: file for name, file in a.items() if name != "products.duckdb"} == {
        name: file for name, file in b.items() if name != "products.duckdb"
    }


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((2, 8), np.float16), "vectors"),
        (np.zeros((1, 16), np.float16), "vectors"),
        (np.zeros((2, 16), np.float32), "vectors"),
        (np.full((2, 16), np.nan, np.float16), "NaN or infinity"),
        (np.full((2, 16), np.inf, np.float16), "NaN or infinity"),
    ],
)
def test_vectors_that_are_not_taken(tmp_path: Path, vectors: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        SegmentWriter(tmp_path / "s", 16).add(product_table(["a", "b"]), vectors)


def test_a_folder_is_written_once(tmp_path: Path):
    SegmentWriter(tmp_path / "s", 16)
    with pytest.raises(FileExistsError):
        SegmentWriter(tmp_path / "s", 16)


def test_thumbnails_by_row(tmp_path: Path):
    jpegs = [b"jpeg %d" % row if row % 3 else None for row in range(200)]
    write_segment(tmp_path / "s", unit_vectors(200), thumbnails=jpegs)
    segment = Segment(tmp_path / "s")
    assert segment.thumbnails
    assert [segment.thumbnails.get(row) for row in range(200)] == jpegs
    assert segment.thumbnails.get(10**6) is None
    segment.close()


def test_no_thumbnails_no_file(tmp_path: Path):
    info = write_segment(tmp_path / "s", unit_vectors(3), thumbnails=[None] * 3)
    assert "thumbnails.parquet" not in info.files


ODD_IDS = ["a\nb", "c\rd", "e\x85f", "g\u2028h", " ", "ü", "i\tj", '"k"', "l\x1cm", "\U0001f600"]


def test_tombstones_of_any_id(tmp_path: Path):
    write_segment(tmp_path / "s", unit_vectors(1), tombstones=[*ODD_IDS, "a\nb"])
    segment = Segment(tmp_path / "s")
    assert sorted(segment.tombstones) == sorted(ODD_IDS)
    assert segment.info.tombstones == len(ODD_IDS)
    segment.close()


def test_files_are_read_only(segment: Segment):
    files = list(segment.folder.iterdir())
    assert {path.name for path in files} == {*segment.info.files, "segment.json"}
    for path in files:
        assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH), path


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module", params=["pq", "flat"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "s"
    write_segment(
        folder,
        unit_vectors(300),
        settings=INDEXED.model_copy(update={"codec": request.param, "rows_per_index": 200}),
        thumbnails=[b"jpeg"] * 300,
        tombstones=["gone"],
    )
    return folder


def test_every_file_that_is_damaged_is_named(whole: Path):
    release = open_release(whole)
    manifest = release.manifest
    release.close()
    names = sorted(path.name for path in whole.iterdir())
    assert len(names) >= 7
    for name in names:
        path = whole / name
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 0x10
        for damaged in (None, bytes(flipped), content[:-1], content + b"\x00", b""):
            path.chmod(0o644)
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.raises(CorruptFile) as caught:
                type(release)(manifest, [whole])
            assert Path(caught.value.path) == path
            path.write_bytes(content)
    type(release)(manifest, [whole]).close()


def test_a_missing_folder(tmp_path: Path):
    with pytest.raises(CorruptFile, match=r"segment\.json: is missing"):
        Segment(tmp_path / "never")


def rewritten(folder: Path, **changes: Any) -> None:
    """Change segment.json, its files as they are."""
    path = folder / "segment.json"
    content = {**json.loads(path.read_bytes()), **changes}
    path.chmod(0o644)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("codec", ["pq", "flat"])
@pytest.mark.parametrize("change", [{"rows": 299}, {"rows": 301}, {"dim": 15}, {"dim": 17}])
def test_whole_files_that_do_not_belong_together(tmp_path: Path, codec: str, change: dict[str, int]):
    """Mapped by wrong counts, a file would be read past its end."""
    write_segment(tmp_path / "s", unit_vectors(300), settings=INDEXED.model_copy(update={"codec": codec}))
    rewritten(tmp_path / "s", **change)
    with pytest.raises(CorruptFile, match="do not add up"):
        Segment(tmp_path / "s")


def test_a_part_of_the_index_is_not_enough(tmp_path: Path):
    info = write_segment(tmp_path / "s", unit_vectors(300), settings=INDEXED.model_copy(update={"rows_per_index": 200}))
    assert info.index.files == 2
    rewritten(tmp_path / "s", index={**info.index.model_dump(), "files": 1})
    with pytest.raises(CorruptFile, match="rows in the index"):
        Segment(tmp_path / "s")


def test_product_rows_of_another_segment(tmp_path: Path):
    write_segment(tmp_path / "s", unit_vectors(5))
    write_segment(tmp_path / "t", unit_vectors(6))
    for name in ("products.arrow", "products.duckdb"):
        (tmp_path / "t" / name).replace(tmp_path / "s" / name)
    with pytest.raises(CorruptFile, match="product rows"):
        Segment(tmp_path / "s", verify=False)
    # Nothing is left open: DuckDB would refuse to open the file for writing.
    (tmp_path / "s/products.duckdb").chmod(0o644)
    duckdb.connect(str(tmp_path / "s/products.duckdb")).close()


@pytest.mark.parametrize("fields", [{"format": 2}, {"format": 2, "rows": None, "files": "elsewhere"}])
def test_another_format(tmp_path: Path, fields: dict[str, Any]):
    write_segment(tmp_path / "s", unit_vectors(3))
    rewritten(tmp_path / "s", **fields)
    with pytest.raises(IncompatibleRelease, match="format 2"):
        Segment(tmp_path / "s")


@pytest.mark.parametrize("content", [b"[]", b"{}", b"null", b"\xff", b'{"format": 1}'])
def test_not_a_description(tmp_path: Path, content: bytes):
    write_segment(tmp_path / "s", unit_vectors(3))
    (tmp_path / "s/segment.json").chmod(0o644)
    (tmp_path / "s/segment.json").write_bytes(content)
    with pytest.raises(CorruptFile, match="not a segment's description"):
        Segment(tmp_path / "s")
