"""Writing segments: the same rows give the same files, and wrong rows are refused."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from artifacts.index.params import SearchParams
from artifacts.schema import segment_schema
from artifacts.segments.info import verify_segment
from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment
from artifacts.segments.writer import SegmentWriter
from artifacts.settings import Settings
from tests.artifacts.building import INDEXED, product_table, unit_vectors, write_segment
from tests.artifacts.segments.segment_building import LAYOUTS, QUERIES, VECTORS

#: DuckDB does not promise the same bytes.
UNSTABLE = "products.duckdb"

SCHEMA = segment_schema({})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_rows_give_the_same_segment(tmp_path: Path, layout: str, segments: dict[str, Segment]):
    write_segment(tmp_path / "s", VECTORS, settings=INDEXED.model_copy(update=LAYOUTS[layout]))
    again, before = Segment(tmp_path / "s"), segments[layout]
    for name, file in before.info.files.items():
        if name != UNSTABLE:
            assert again.info.files[name] == file, name
    results = [Searcher(segment).search(QUERIES, 30, SearchParams(4, 2))[0] for segment in (again, before)]
    rows_again, rows_before = [[nearest.rows.tolist() for nearest in neighbors] for neighbors in results]
    assert rows_again == rows_before
    again.close()


def test_the_size_of_blocks_does_not_matter(tmp_path: Path):
    products = product_table([f"p{row}" for row in range(700)])
    vectors = unit_vectors(700)
    for name, step in (("a", 700), ("b", 99)):
        writer = SegmentWriter(tmp_path / name, 16, products.schema, INDEXED.pipeline.index)
        for start in range(0, 700, step):
            writer.add(products.slice(start, step), vectors[start : start + step])
        writer.finish("s", "toy")
    whole, blocks = (verify_segment(tmp_path / name).files for name in "ab")
    assert {name: file for name, file in whole.items() if name != UNSTABLE} == {
        name: file for name, file in blocks.items() if name != UNSTABLE
    }


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((2, 8), np.float16), r"vectors must be float16\(2, 16\)"),
        (np.zeros((1, 16), np.float16), r"vectors must be float16\(2, 16\)"),
        (np.zeros((2, 16), np.float32), r"vectors must be float16\(2, 16\)"),
        (np.full((2, 16), np.nan, np.float16), "NaN or infinity"),
        (np.full((2, 16), np.inf, np.float16), "NaN or infinity"),
    ],
)
def test_wrong_vectors_are_refused(tmp_path: Path, vectors: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        SegmentWriter(tmp_path / "s", 16, SCHEMA, INDEXED.pipeline.index).add(product_table(["a", "b"]), vectors)


def test_a_folder_is_written_once(tmp_path: Path):
    SegmentWriter(tmp_path / "s", 16, SCHEMA, INDEXED.pipeline.index)
    with pytest.raises(FileExistsError):
        SegmentWriter(tmp_path / "s", 16, SCHEMA, INDEXED.pipeline.index)


def test_a_small_training_sample_is_enlarged_to_the_minimum(tmp_path: Path):
    settings = Settings(flat_max_rows=0, train_rows_per_list=1)
    info = write_segment(tmp_path / "s", unit_vectors(400), settings=settings)
    assert (info.index.codec, info.index.train_rows) == ("pq", 256)


def test_files_are_read_only(segment: Segment):
    files = [path for path in segment.folder.rglob("*") if path.is_file()]
    assert {path.relative_to(segment.folder).as_posix() for path in files} == {*segment.info.files, "segment.json"}
    for path in files:
        assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH), path
