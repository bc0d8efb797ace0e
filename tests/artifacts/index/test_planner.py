"""The planner: which side of the crossover a filter is on."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts.index.params import IvfShape, SearchParams, code_size
from artifacts.index.planner import (
    MAX_CANDIDATES,
    MAX_EXACT_ROWS,
    candidates_for,
    depth_for,
    exact_is_cheaper,
    exact_is_cheaper_than_graph,
    gathering_is_cheaper,
    probes_for,
)

SHAPE = IvfShape(codec="pq", rows=500_000, lists=2048, dim=512, code_size=64)
PARAMS = SearchParams(nprobe=8, rescore=4, filtered_probes=8, filtered_rescore=16)


def test_probes_grow_as_filters_thin_out_the_lists() -> None:
    probes = [probes_for(SHAPE, PARAMS, 500_000 // share, 2048) for share in (1, 2, 10, 100, 1000)]
    assert probes == [64, 64, 80, 800, 2048]


def test_whole_lists_need_only_the_calibrated_factor() -> None:
    assert probes_for(SHAPE, PARAMS, allowed=5000, useful=20) == 20
    assert probes_for(SHAPE, PARAMS, allowed=100_000, useful=400) == 64


#: Filters of 300,000 x 512-d in 2,048 lists, with nprobe 4: codec, allowed rows, lists that hold any, filtered_probes
#: and filtered_rescore, and the µs of one core for the best 100 by exact scoring and by probing. Filters over few lists
#: are of whole categories, the others random.
MEASURED = [
    ("pq", 2_191, 18, 4, 4, 167, 233),
    ("pq", 2_191, 18, 16, 8, 167, 360),
    ("pq", 4_467, 37, 1, 4, 537, 220),
    ("pq", 4_467, 37, 4, 4, 537, 263),
    ("pq", 5_000, 1684, 1, 4, 347, 545),
    ("pq", 5_000, 1684, 4, 4, 347, 606),
    ("pq", 10_000, 1916, 8, 16, 1480, 655),
    ("pq", 10_000, 1916, 64, 16, 1480, 1092),
    ("pq", 11_990, 93, 64, 16, 2073, 1180),
    ("pq", 27_122, 186, 32, 32, 4810, 2186),
    ("rabitq", 1_705, 12, 1, 4, 141, 213),
    ("rabitq", 1_705, 12, 4, 4, 141, 228),
    ("rabitq", 4_904, 44, 1, 4, 368, 242),
    ("rabitq", 4_904, 44, 4, 4, 368, 267),
    ("rabitq", 5_000, 1719, 4, 4, 550, 787),
    ("rabitq", 5_000, 1719, 16, 8, 550, 819),
    ("rabitq", 8_018, 62, 8, 16, 1401, 725),
    ("rabitq", 8_018, 62, 64, 16, 1401, 856),
    ("rabitq", 10_000, 1920, 1, 4, 1706, 859),
    ("rabitq", 10_000, 1920, 32, 32, 1706, 890),
    ("sq8", 1_972, 16, 4, 4, 158, 248),
    ("sq8", 4_937, 34, 1, 4, 394, 227),
    ("sq8", 4_937, 34, 4, 4, 394, 287),
    ("sq8", 4_937, 34, 16, 8, 394, 535),
    ("sq8", 5_000, 1685, 4, 4, 336, 770),
    ("sq8", 5_000, 1685, 16, 8, 336, 905),
    ("sq8", 9_287, 65, 8, 16, 1488, 927),
    ("sq8", 10_000, 1929, 32, 32, 1594, 1021),
    ("sq8", 24_111, 180, 32, 32, 3990, 2347),
    ("sq8", 30_000, 2013, 64, 16, 4886, 2677),
]


@pytest.mark.parametrize("case", MEASURED, ids=lambda case: "-".join(map(str, case[:5])))
def test_the_way_that_was_measured_as_cheaper_is_taken(case: tuple[str, int, int, int, int, float, float]) -> None:
    codec, allowed, useful, probes, rescore, exact, probing = case
    shape = IvfShape(codec, rows=300_000, lists=2048, dim=512, code_size=code_size(codec, 512))
    assert exact_is_cheaper(shape, SearchParams(4, 4, probes, rescore), 100, allowed, useful) == (exact < probing)


#: The same where a model chooses the lists: codec, allowed rows, lists that hold any, nprobe and filtered_rescore, µs.
MODELLED = [
    ("sq8", 3_000, 1425, 6, 1, 190, 273),
    ("sq8", 8_000, 1859, 12, 1, 504, 331),
    ("sq8", 8_000, 1854, 6, 1, 629, 291),
    ("sq8", 1_206, 13, 12, 1, 91, 121),
    ("sq8", 3_345, 24, 12, 1, 204, 142),
    ("sq8", 5_663, 53, 6, 1, 319, 176),
    ("sq8", 2_622, 17, 12, 1, 162, 115),
    ("sq8", 3_424, 38, 6, 1, 203, 121),
    ("rabitq", 5_000, 1682, 16, 8, 281, 470),
    ("rabitq", 8_000, 1856, 6, 3, 747, 507),
    ("rabitq", 12_000, 1928, 16, 8, 1335, 693),
    ("rabitq", 3_149, 27, 16, 8, 189, 265),
    ("rabitq", 5_080, 44, 6, 3, 293, 198),
    ("rabitq", 8_232, 58, 16, 8, 651, 345),
    ("rabitq", 1_222, 15, 16, 8, 93, 157),
    ("rabitq", 3_913, 31, 6, 3, 234, 170),
    ("rabitq", 5_047, 52, 6, 3, 296, 175),
    ("pq", 5_000, 1692, 16, 6, 298, 471),
    ("pq", 8_000, 1855, 6, 8, 509, 374),
    ("pq", 12_000, 1921, 16, 6, 1296, 542),
    ("pq", 3_042, 25, 6, 8, 183, 260),
    ("pq", 8_224, 68, 6, 8, 604, 352),
    ("pq", 8_002, 57, 16, 6, 638, 280),
    ("pq", 2_021, 14, 6, 8, 131, 181),
    ("pq", 5_306, 47, 16, 6, 305, 175),
    ("pq", 5_099, 41, 6, 8, 288, 156),
]


@pytest.mark.parametrize("case", MODELLED, ids=lambda case: "-".join(map(str, case[:5])))
def test_the_way_that_was_measured_as_cheaper_is_taken_with_a_model(
    case: tuple[str, int, int, int, int, float, float],
) -> None:
    codec, allowed, useful, nprobe, rescore, exact, probing = case
    shape = IvfShape(codec, 300_000, 2048, 512, code_size(codec, 512), has_model=True)
    assert exact_is_cheaper(shape, SearchParams(nprobe, 4, 16, rescore), 100, allowed, useful) == (exact < probing)


@pytest.mark.parametrize("useful", [None, 30, 2048])
def test_exact_is_cheaper_up_to_one_crossover(useful: int | None) -> None:
    counts = np.unique(np.geomspace(100, 500_000, 200).astype(int))
    exact = [
        exact_is_cheaper(SHAPE, PARAMS, 100, int(count), min(2048, int(count)) if useful is None else useful)
        for count in counts
    ]
    assert exact[0]
    assert not exact[-1]
    assert exact == sorted(exact, reverse=True)


def test_rows_that_would_all_be_candidates_are_scored_exactly() -> None:
    assert exact_is_cheaper(SHAPE, PARAMS, 100, 1600, 1)
    assert not exact_is_cheaper(SHAPE, SearchParams(1, 1, 1, 1), 1, MAX_EXACT_ROWS, 1)


def test_candidates_have_a_maximum() -> None:
    assert candidates_for(100, 16) == 1600
    assert candidates_for(50_000, 32) == MAX_CANDIDATES
    assert candidates_for(2 * MAX_CANDIDATES, 4) == 2 * MAX_CANDIDATES


def test_exact_search_has_a_maximum_of_rows() -> None:
    shape = IvfShape(codec="pq", rows=100_000_000, lists=65_536, dim=512, code_size=64)
    deep = SearchParams(nprobe=1024, rescore=64, filtered_probes=64, filtered_rescore=64)
    assert exact_is_cheaper(shape, deep, 100, MAX_EXACT_ROWS, 65_536)
    assert not exact_is_cheaper(shape, deep, 100, MAX_EXACT_ROWS + 1, 65_536)


def test_gathering_is_cheaper_for_sparse_filters() -> None:
    assert gathering_is_cheaper(1000, 10)
    assert not gathering_is_cheaper(1000, 900)


# ── graphs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_walks_are_deeper_for_more_results_and_under_filters() -> None:
    params = SearchParams(nprobe=200, filtered_probes=2)
    rows = 100_000
    assert depth_for(params, 10, rows, rows) == 200
    assert depth_for(params, 100, rows, rows) == 200
    assert depth_for(params, 300, rows, rows) == 600
    assert depth_for(SearchParams(nprobe=4), 100, rows, rows) == 100
    assert depth_for(params, 100, rows, rows // 10) == 200 * 2 * 10
    assert depth_for(params, 100, rows, 1) == rows
    assert depth_for(params, 100, rows, 0) == rows


def test_restrictive_filters_are_scored_row_by_row() -> None:
    def is_exact(share: float, rows: int = 500_000) -> bool:
        allowed = round(rows * share)
        depth = depth_for(SearchParams(nprobe=128, filtered_probes=1), 100, rows, allowed)
        return exact_is_cheaper_than_graph(512, depth, allowed)

    assert [is_exact(share) for share in (0.001, 0.01, 0.3, 1)] == [True, True, False, False]
