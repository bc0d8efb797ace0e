"""Plans a search under a filter: score the allowed rows one by one, or probe the lists that hold allowed rows.

Scoring every allowed row is exact and costs the same wherever the rows lie. Probing costs what the lists hold: where
allowed rows are spread thinly over them, each probe yields little. Both costs are estimated and the cheaper way is
taken; on equal costs, the exact one. The estimates are linear; `lookalike bench filters` measures both ways.
They only have to be right about which side of the crossover a filter is on; near it, either way will do.
"""

from __future__ import annotations

import math

from artifacts.index.params import IvfShape, SearchParams

# Nanoseconds on one core with AVX-512, from 300,000 x 512-d in 2,048 lists.
_EXACT = 30_000.0  # a search of the allowed rows, however many
_ROW = 20.0  # an allowed row, whatever its length
_NUMBER = 0.17  # a number of a stored vector, read and multiplied
_PROBING = 60_000.0  # a search of the index, whatever it finds
_CENTROID = 0.05  # a number of a centroid, multiplied
_SELECT = 3.0  # a row in a probed list, tested against the filter
_CANDIDATE = 180.0  # a candidate on its way through the heap, beside the cost of its vector

#: A probed list, with the first codes that are read from it, which are in no cache.
_LIST = {"pq": 1400.0, "opq": 1400.0, "rabitq": 2200.0, "sq8": 2400.0}

#: A byte of an allowed row's code, scored: PQ looks up each one in a table, and the others take many at once.
_CODE_BYTE = {"pq": 0.5, "opq": 0.5, "rabitq": 0.2, "sq8": 0.08}

# Lists that a model chooses, as a multiple of nprobe: of random rows 7 to 17 where the lists were thinned out 15 to 34
# times, 1 to 4 for categories.
_LEAST_FACTOR, _THINNING_POWER = 2.0, 0.75

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
    """Return the number of lists to probe, of those that hold allowed rows, where no model chooses them.

    A filter that is spread evenly thins out every list: the best hundred of a tenth of the rows are spread as widely
    as the best thousand of all, so the number of probes grows as the lists get thinner. A filter that is unrelated to
    the query leaves lists whole, but all of them far away and at much the same distance, so their order says little:
    that takes `filtered_probes` times as many, which the gate calibrates.

    Args:
        allowed: rows that pass the filter.
        useful: lists that hold any of them.
    """
    return min(useful, math.ceil(params.nprobe * max(params.filtered_probes, _thinning(shape, allowed, useful))))


def _thinning(shape: IvfShape, allowed: int, useful: int) -> float:
    """Return how many rows a list has for each one that is allowed, in the lists that hold any."""
    return (shape.rows / shape.lists) / (allowed / useful)


def _expected_probes(shape: IvfShape, params: SearchParams, allowed: int, useful: int) -> int:
    """Return how many lists are likely to be probed: a model needs fewer, and says how many only for a query."""
    if not shape.has_model:
        return probes_for(shape, params, allowed, useful)
    factor = max(_LEAST_FACTOR, _thinning(shape, allowed, useful) ** _THINNING_POWER)
    return min(useful, math.ceil(params.nprobe * factor))


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
    probes = _expected_probes(shape, params, allowed, useful)
    found = min(candidates, math.ceil(probes * allowed / useful))
    probing = (
        _PROBING
        + shape.lists * shape.dim * _CENTROID
        + probes * (_LIST[shape.codec] + shape.rows / shape.lists * _SELECT)
        + probes * (allowed / useful) * shape.code_size * _CODE_BYTE[shape.codec]
        + found * (_CANDIDATE + shape.dim * _NUMBER)
    )
    return _scoring(allowed, shape.dim) <= probing


def _scoring(rows: int, dim: int) -> float:
    """Return what scoring rows one by one is expected to cost."""
    return _EXACT + rows * (_ROW + dim * _NUMBER)


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
    return _scoring(allowed, dim) <= walk


def gathering_is_cheaper(rows: int, allowed: int) -> bool:
    """Whether, in a flat index of `rows`, gathering the allowed rows costs less than a scan that steps over the others.

    Both ways are exact.
    """
    return allowed < _SPARSE_SHARE * rows
