"""Plans a search under a filter: score the allowed rows one by one, or probe the lists that hold allowed rows.

Scoring every allowed row is exact and costs the same wherever the rows lie. Probing costs what the lists hold: where
allowed rows are spread thinly over them, each probe yields little. Both costs are estimated and the cheaper way is
taken; on equal costs, the exact one. The estimates are linear, with constants measured by `lookalike bench filters`.
They only have to be right about which side of the crossover a filter is on; near it, either way will do.
"""

from __future__ import annotations

import math

from artifacts.index.params import IvfShape, SearchParams

# Nanoseconds on one thread, from 500,000 x 512-d in IVF2048,PQ64.
_ROW = 50.0  # an allowed row, whatever its length
_NUMBER = 1.0  # a number of a stored vector, read and multiplied
_CENTROID = 0.12  # a number of a centroid, multiplied
_SELECT = 9.0  # a row in a probed list, tested against the filter
_CODE = 0.6  # a byte of an allowed row's code, scored
_PROBING = 200_000.0  # a search of the index, whatever it finds
_CANDIDATE = 500.0  # a candidate on its way through the heap, beside the cost of its vector

# The same for a walk through a graph over 100,000 x 512-d.
_STEP = 100.0  # a row that the walk keeps
_STEP_NUMBER = 2.0  # a number of its neighbours' vectors
_KEEP = 0.25  # a row among those that are kept, compared with each new one

#: With more allowed rows than this they are never scored one by one: their vectors may have to come from disk, at
#: random positions.
MAX_EXACT_ROWS = 200_000

#: Limit of candidates that one search scores exactly, however deep the page and whatever `rescore` is.
MAX_CANDIDATES = 200_000

#: In a flat index, gathering the allowed rows is faster than stepping over the others below this share of the rows.
_SPARSE_SHARE = 0.25


def candidates_for(k: int, rescore: int) -> int:
    """Return the number of candidates to score exactly for the best `k`: k·rescore up to MAX_CANDIDATES, at least k."""
    return max(k, min(k * rescore, MAX_CANDIDATES))


def probes_for(shape: IvfShape, params: SearchParams, allowed: int, useful: int) -> int:
    """Return the number of lists to probe, of those that hold allowed rows.

    A filter that is spread evenly thins out every list: the best hundred of a tenth of the rows are spread as widely
    as the best thousand of all, so the number of probes grows as the lists get thinner. A filter that is unrelated to
    the query leaves lists whole, but all of them far away and at much the same distance, so their order says little:
    that takes `filtered_probes` times as many, which the gate calibrates.

    Args:
        allowed: rows that pass the filter.
        useful: lists that hold any of them.
    """
    thinning = (shape.rows / shape.lists) / (allowed / useful)
    return min(useful, math.ceil(params.nprobe * max(params.filtered_probes, thinning)))


def exact_is_cheaper(shape: IvfShape, params: SearchParams, k: int, allowed: int, useful: int) -> bool:
    """Return whether scoring all allowed rows is expected to cost no more than probing lists for the best `k`.

    Args:
        allowed: rows that pass the filter.
        useful: lists that hold any of them.
    """
    if allowed > MAX_EXACT_ROWS:
        return False
    candidates = candidates_for(k, params.filtered_rescore)
    if allowed <= candidates:
        return True  # probing would end in scoring them all anyway
    probes = probes_for(shape, params, allowed, useful)
    probing = (
        _PROBING
        + shape.lists * shape.dim * _CENTROID
        + probes * (shape.rows / shape.lists) * _SELECT
        + probes * (allowed / useful) * shape.code_size * _CODE
        + candidates * (_CANDIDATE + shape.dim * _NUMBER)
    )
    return allowed * (_ROW + shape.dim * _NUMBER) <= probing


def depth_for(params: SearchParams, k: int, rows: int, allowed: int) -> int:
    """Return how many of the nearest rows a walk through a graph keeps (efSearch), to find the best `k` allowed ones.

    `nprobe` is calibrated for 100 results, and deeper searches keep as many more. Under a filter the walk goes over all
    rows, so it keeps as many more as rows are not allowed; `filtered_probes` is for filters that are unrelated to the
    query, whose rows are all far from it.

    Args:
        rows: in the graph.
        allowed: those of them that pass the filter.
    """
    depth = params.nprobe * max(1.0, k / 100)
    if allowed < rows:
        depth = max(depth, k) * params.filtered_probes * rows / max(1, allowed)
    return min(rows, max(k, math.ceil(depth)))


def exact_is_cheaper_than_graph(dim: int, depth: int, allowed: int) -> bool:
    """Return whether scoring all allowed rows is expected to cost no more than a walk through a graph.

    Args:
        depth: nearest rows that the walk keeps; see `depth_for`.
        allowed: rows that pass the filter.
    """
    walk = depth * (_STEP + dim * _STEP_NUMBER) + depth * depth * _KEEP
    return allowed * (_ROW + dim * _NUMBER) <= walk


def gathering_is_cheaper(rows: int, allowed: int) -> bool:
    """Whether, in a flat index of `rows`, gathering the allowed rows costs less than a scan that steps over the others.

    Both ways are exact.
    """
    return allowed < _SPARSE_SHARE * rows
