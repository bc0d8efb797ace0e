"""How a segment is searched under a filter: row by row, or through the lists that hold allowed rows.

Scoring every allowed row is exact and costs the same wherever they lie. Probing costs what lies in the lists: an
allowed row that is spread thinly over them makes every probe bring little. So both costs are estimated, and the
cheaper is taken; on equal terms that is the exact one. The estimates are linear with constants measured by `lookalike
bench filters`; they only have to be right about which side of the crossover a filter is on, and near it either will do.
"""

from __future__ import annotations

import math

from artifacts.index.params import IvfShape, SearchParams

# Nanoseconds on one thread, from 500,000 x 512-d in IVF2048,PQ64.
_ROW = 50.0  # an allowed row, whatever its length
_NUMBER = 1.0  # a number of a stored vector, read and multiplied
_CENTROID = 0.12  # a number of a centroid, multiplied
_SELECT = 9.0  # a row in a probed list, asked whether it is allowed
_CODE = 0.6  # a byte of an allowed row's code, scored
_PROBING = 200_000.0  # a search of the index, whatever it finds
_CANDIDATE = 500.0  # a candidate on its way through the heap, beside what its vector costs

#: Above so many allowed rows never row by row: their vectors may have to come from disk, at random places.
EXACT_ROWS_AT_MOST = 200_000


#: Candidates that one search scores exactly at most, however deep a page and however hard it is told to look.
CANDIDATES_AT_MOST = 200_000


def candidates_for(k: int, rescore: int) -> int:
    """Candidates to score exactly for the best `k`: `rescore` times as many, within reason, and never fewer."""
    return max(k, min(k * rescore, CANDIDATES_AT_MOST))


def probes_for(shape: IvfShape, params: SearchParams, allowed: int, useful: int) -> int:
    """Lists to probe, of those that hold allowed rows.

    A filter that is spread evenly thins every list out: the best hundred of a tenth of the rows lie as wide as the best
    thousand of all, so as many more lists are wanted as the lists are thinner. One that has nothing to do with the
    query leaves lists whole, but all far away and at much the same distance, so that their order says little:
    `filtered_probes` times as many are wanted, which the gate calibrates.

    Args:
        allowed: rows that pass the filter.
        useful: lists that hold any of them.
    """
    thinned = (shape.rows / shape.lists) / (allowed / useful)
    return min(useful, math.ceil(params.nprobe * max(params.filtered_probes, thinned)))


def exact_is_cheaper(shape: IvfShape, params: SearchParams, k: int, allowed: int, useful: int) -> bool:
    """Whether scoring all allowed rows is expected to cost no more than probing lists for the best `k`."""
    if allowed > EXACT_ROWS_AT_MOST:
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
