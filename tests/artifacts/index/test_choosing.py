"""Which index is chosen for how many rows and how much memory, and what the errors say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from artifacts.config import IndexConfig
from artifacts.errors import InputError
from artifacts.index import build
from artifacts.index.choosing import BEST_FIRST, HNSW_ROWS, choose, size_text
from artifacts.index.graph import write_graph
from tests.artifacts.building import unit_vectors

MILLION, BILLION = 10**6, 10**9


def chosen(rows: int, dim: int = 512, **settings: Any) -> tuple[str, int]:
    """The codec and the number of lists."""
    choice = choose(rows, dim, IndexConfig(**settings))
    assert choice.reasons
    assert all(reason[-1] == "." for reason in choice.reasons)
    return choice.codec, choice.lists


@pytest.mark.parametrize(
    ("rows", "settings", "expected"),
    [
        (0, {}, ("flat", 0)),
        (20_000, {}, ("flat", 0)),
        (20_000, {"codec": "hnsw"}, ("flat", 0)),
        (256, {"flat_max_rows": 0}, ("flat", 0)),
        (257, {"flat_max_rows": 0}, ("pq", 64)),
        (20_001, {}, ("pq", 512)),
        (MILLION, {}, ("pq", 4096)),
        (100 * MILLION, {}, ("pq", 65_536)),
        (50 * MILLION, {"codec": "flat"}, ("flat", 0)),
        (HNSW_ROWS - 1, {"codec": "hnsw"}, ("hnsw", 0)),
        (MILLION, {"codec": "opq"}, ("opq", 4096)),
        (MILLION, {"nlist": 1000}, ("pq", 1000)),
        (MILLION, {"memory_budget": 90 * MILLION}, ("pq", 4096)),
        # auto
        (MILLION, {"codec": "auto"}, ("pq", 4096)),
        (MILLION, {"codec": "auto", "memory_budget": BILLION}, ("sq8", 4096)),
        (MILLION, {"codec": "auto", "memory_budget": 500 * MILLION}, ("opq", 4096)),
        (100 * MILLION, {"codec": "auto", "memory_budget": 64 * BILLION}, ("sq8", 65_536)),
        (100 * MILLION, {"codec": "auto", "memory_budget": 16 * BILLION}, ("opq", 65_536)),
        (20_000, {"codec": "auto", "memory_budget": BILLION}, ("flat", 0)),
        (20_000, {"codec": "auto", "memory_budget": 15 * MILLION}, ("sq8", 512)),
    ],
)
def test_choice_follows_rows_and_budget(rows: int, settings: dict[str, Any], expected: tuple[str, int]) -> None:
    assert chosen(rows, **settings) == expected


def test_few_rows_are_coded_if_flat_does_not_fit() -> None:
    assert chosen(20_000, memory_budget=5 * MILLION)[0] == "pq"


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (
            MILLION,
            {"codec": "hnsw"},
            r"codec: hnsw is for fewer than 1,000,000 rows, and there are 1,000,000; set codec",
        ),
        (
            MILLION,
            {"codec": "sq8", "memory_budget": 100 * MILLION},
            r"takes 532 MB \(532,\d{3},\d{3} bytes\) with codec sq8, more than 100 MB; opq \(86 MB\), pq \(84.9 MB\) "
            r"or rabitq \(93.4 MB\) would fit: set codec to one of these, or to auto",
        ),
        (
            MILLION,
            {"codec": "flat", "memory_budget": BILLION},
            r"takes 1.02 GB \(1,024,000,000 bytes\) with codec flat, more than 1 GB; sq8 \(532 MB\), opq",
        ),
        (MILLION, {"memory_budget": MILLION}, r"memory_budget: .* with codec pq, more than 1 MB; no codec fits"),
        (
            MILLION,
            {"codec": "auto", "memory_budget": MILLION},
            r"memory_budget: 1,000,000 rows of 512 numbers do not fit 1 MB with any codec: sq8 \(532 MB\), opq",
        ),
        (900_000, {"codec": "hnsw", "memory_budget": BILLION}, r"takes 1.17 GB .* with codec hnsw, .*sq8 \(480 MB\)"),
        (MILLION, {"nlist": 2 * MILLION}, r"nlist: 2,000,000 lists are more than the 1,000,000 rows"),
    ],
)
def test_what_does_not_fit_is_refused(rows: int, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose(rows, 512, IndexConfig(**settings))


def test_reasons_name_the_budget_and_what_does_not_fit() -> None:
    choice = choose(100 * MILLION, 512, IndexConfig(codec="auto", memory_budget=16 * BILLION))
    assert choice.reasons[0] == (
        "opq has the most exact codes within the memory_budget of 16 GB: 7.75 GB. "
        "sq8 (52.6 GB), with more exact codes, would not fit."
    )
    assert "65,536 IVF lists, the power of two nearest to 16,384·√(rows ÷ 10,000,000)." in choice.reasons
    assert choice.factory == "OPQ64,IVF65536_HNSW32,PQ64"


@pytest.mark.parametrize(("dim", "codec"), [(1024, "opq"), (1032, "pq")])
def test_auto_learns_no_rotation_of_long_vectors(dim: int, codec: str) -> None:
    assert chosen(MILLION, dim, codec="auto", memory_budget=300 * MILLION)[0] == codec


@pytest.mark.parametrize(
    ("dim", "budget", "codec"),
    [(512, 600, "sq8"), (512, 300, "opq"), (1032, 300, "pq"), (514, 300, "rabitq"), (509, 600, "sq8")],
)
def test_auto_takes_no_codes_that_say_little(dim: int, budget: int, codec: str) -> None:
    assert chosen(MILLION, dim, codec="auto", memory_budget=budget * MILLION)[0] == codec


def test_dimension_without_a_good_divisor_is_remarked_on() -> None:
    reasons = choose(MILLION, 509, IndexConfig()).reasons
    assert any("pq cuts 509 numbers into only 1 sub-vector," in reason for reason in reasons)


@pytest.mark.parametrize("codec", BEST_FIRST)
def test_resident_bytes_are_those_of_the_file(tmp_path: Path, codec: str) -> None:
    """Up to what FAISS writes beside it; the lists of the rows are in a file of their own."""
    rows, dim = 3000, 64
    choice = choose(rows, dim, IndexConfig(codec=codec, flat_max_rows=0))  # type: ignore[arg-type]
    vectors = unit_vectors(rows, dim).astype(np.float32)
    index, _ = build.train(choice.factory, dim, vectors, seed=0)
    assert faiss.extract_index_ivf(index).nlist == choice.lists
    build.add(index, vectors, np.arange(rows))
    build.write(index, tmp_path / "index")
    assert (tmp_path / "index").stat().st_size + 4 * rows == pytest.approx(choice.resident_bytes, rel=0.05)


def test_resident_bytes_of_a_graph_are_those_of_the_file(tmp_path: Path) -> None:
    rows, dim = 3000, 64
    choice = choose(rows, dim, IndexConfig(codec="hnsw", flat_max_rows=0))
    write_graph([unit_vectors(rows, dim)], dim, tmp_path / "index")
    assert (tmp_path / "index").stat().st_size == pytest.approx(choice.resident_bytes, rel=0.02)


def test_sizes_are_text_in_units_of_1000() -> None:
    sizes = (0, 999, 1000, 999_499, 999_600, 7_753_629_491, 10**15)
    assert [size_text(size) for size in sizes] == [
        "0 bytes", "999 bytes", "1 KB", "999 KB", "1 MB", "7.75 GB", "1e+03 TB",
    ]  # fmt: skip
