"""A segment of several parts answers as one of a single part, and segments without parts are still read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from artifacts.errors import CorruptFile
from artifacts.index.params import SearchParams
from artifacts.segments.info import verify_segment
from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment
from tests.artifacts.building import DIM, INDEXED, product_table, unit_vectors, write_segment
from tests.artifacts.segments.test_info import change_info

ROWS = 900
VECTORS = unit_vectors(ROWS)
#: Two pictures of each product, so that parts end within a product.
PRODUCTS = product_table(
    [f"p{row // 2}" for row in range(1, ROWS + 1)],
    pictures=[(row + 1) % 2 for row in range(ROWS)],
    price=[float(row) for row in range(ROWS)],
)
THUMBNAILS = [b"jpeg %d" % row if row % 3 else None for row in range(ROWS)]
EVERYTHING = SearchParams(nprobe=64, rescore=90)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segment]:
    yield from written(tmp_path_factory.mktemp("one"), 1000)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segment]:
    yield from written(tmp_path_factory.mktemp("four"), 256)


def written(folder: Path, rows_per_part: int) -> Iterator[Segment]:
    settings = INDEXED.model_copy(update={"codec": "pq", "rows_per_index": rows_per_part})
    write_segment(folder / "s", VECTORS, PRODUCTS, settings=settings, thumbnails=THUMBNAILS)
    segment = Segment(folder / "s")
    yield segment
    segment.close()


def test_rows_are_spread_over_parts(one: Segment, four: Segment) -> None:
    assert (one.info.part_rows, four.info.part_rows) == ([900], [256, 256, 256, 132])
    assert (one.info.products, one.info.max_pictures) == (four.info.products, four.info.max_pictures) == (451, 2)
    assert sorted(name for name in four.info.files if name.startswith("part-00003/")) == [
        "part-00003/index.faiss", "part-00003/lists.i32", "part-00003/products.arrow", "part-00003/thumbnails.parquet",
        "part-00003/vectors.f16",
    ]  # fmt: skip


def test_rows_are_read_by_their_numbers(four: Segment) -> None:
    rows = np.random.default_rng(1).permutation(ROWS)
    assert np.array_equal(four.vectors.gather(rows), VECTORS[rows])
    assert four.products.rows_table(rows).equals(PRODUCTS.take(rows))
    assert four.products.rows_table([]).equals(PRODUCTS.slice(0, 0))
    assert four.product_ids(np.empty(0, np.int64)) == []
    assert four.thumbnails is not None
    assert four.thumbnails.take(rows) == [THUMBNAILS[row] for row in rows.tolist()]


@pytest.mark.parametrize("share", [None, 2, 40])
def test_parts_are_searched_as_one(one: Segment, four: Segment, share: int | None) -> None:
    """With and without a filter; the quantizer is the same, and so are the codes."""
    queries = unit_vectors(20, seed=5).astype(np.float32)
    answers = []
    for segment in (one, four):
        searcher = Searcher(segment)
        row_filter = None if share is None else searcher.row_filter(np.arange(0, ROWS, share))
        neighbors, plan = searcher.search(queries, 10, EVERYTHING, row_filter, path="ivf")
        answers.append([(found.rows.tolist(), found.scores.tolist()) for found in neighbors])
        assert plan.path == "ivf"
    assert answers[0] == answers[1]


def test_filters_know_the_lists_of_all_parts(one: Segment, four: Segment) -> None:
    rows = np.arange(0, ROWS, 7)
    counts = [Searcher(segment).row_filter(rows).rows_per_list for segment in (one, four)]
    assert counts[0] is not None
    assert np.array_equal(counts[0], counts[1])


def test_same_rows_give_the_same_bytes(one: Segment, tmp_path: Path) -> None:
    for again in written(tmp_path, 1000):
        files = {name: file.sha256 for name, file in again.info.files.items() if not name.endswith(".duckdb")}
        assert files == {name: one.info.files[name].sha256 for name in files}


def test_damage_of_a_part_is_named(tmp_path: Path) -> None:
    write_segment(tmp_path / "s", unit_vectors(3))
    path = tmp_path / "s/part-00000/vectors.f16"
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(CorruptFile, match=r"part-00000/vectors.f16"):
        verify_segment(tmp_path / "s")


def test_segment_of_format_2_is_read(one: Segment, tmp_path: Path) -> None:
    """It has no parts: all files lie in its folder."""
    for segment in written(tmp_path, 1000):
        folder = segment.folder
    for path in (folder / "part-00000").iterdir():
        path.rename(folder / ("index-00000.faiss" if path.name == "index.faiss" else path.name))
    (folder / "part-00000").rmdir()
    files = {
        name.removeprefix("part-00000/").replace("index.faiss", "index-00000.faiss"): file.model_dump()
        for name, file in segment.info.files.items()
    }
    index = {**segment.info.index.model_dump(), "files": 1}
    change_info(folder, format=2, parts=[], files=files, index=index)
    old = Segment(folder)
    query = np.eye(1, DIM, dtype=np.float32)
    found = [Searcher(each).search(query, 10, EVERYTHING)[0][0].rows.tolist() for each in (old, one)]
    assert found[0] == found[1]
    assert old.product_ids(np.array([0, 899])) == ["p0", "p450"]
    old.close()
