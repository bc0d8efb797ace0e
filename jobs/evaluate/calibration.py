"""How hard to search: recall against exact search, and the cheapest parameters that reach a target.

Works on scores alone, so that the gate can use it on a release and a benchmark on a segment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from artifacts.index.params import SearchParams
from jobs.evaluate.results import Trial

_Of = TypeVar("_Of")

#: Results that recall is calibrated on.
DEPTH = 100

#: Depths tried, cheapest first.
_NPROBES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
_RESCORES = (2, 4, 8, 16, 32)
_FILTERED_PROBES = (1, 2, 4, 8, 16, 32, 64)
#: Chosen parameters must beat the target by this much, since they are chosen on the queries they are measured with.
MARGIN = 0.005
#: How often those that reach the target are timed again. More would double the time that the gate takes.
_TURNS = 1

#: Scores of what was found for each query, float[j] descending.
Scores = Sequence[np.ndarray]


def recall(found: Scores, truth: Scores, depth: int) -> float:
    """recall@depth: the share of the true best `depth` that were found; of equal scores any counts.

    Without the tie rule, catalogs that show one picture under many products could never reach 1.
    """
    shares = [
        min(1.0, np.count_nonzero(ours[:depth] >= true[:depth][-1] - 1e-6) / len(true[:depth]))
        for ours, true in zip(found, truth, strict=True)
        if len(true)
    ]
    return float(np.mean(shares)) if shares else 1.0


def calibrate(
    search: Callable[[SearchParams], Scores], truth: Scores, lists: int, target: float
) -> tuple[SearchParams, list[Trial]]:
    """Choose nprobe and the rescoring depth: the cheapest that reach `target`, else the best there is.

    Args:
        search: finds the best `DEPTH` for every query.
        lists: of the index; 0 for a flat one, which has nothing to choose.
    """
    if lists == 0:
        return SearchParams(), [_trial(search, truth, SearchParams())]
    trials: dict[SearchParams, Trial] = {}
    good: dict[SearchParams, float] = {}
    for rescore in _RESCORES:
        for nprobe in sorted({min(nprobe, lists) for nprobe in _NPROBES}):
            params = SearchParams(nprobe, rescore)
            trials[params] = _trial(search, truth, params)
            if trials[params].recall_at_100 >= target + MARGIN:
                good[params] = trials[params].milliseconds
                break  # more probes at this depth only cost more
    if not good:
        best = max(trials, key=lambda params: trials[params].recall_at_100)
        return best, list(trials.values())
    timed = _quickest(lambda params: _trial(search, truth, params).milliseconds, good)
    trials |= {params: replace(trials[params], milliseconds=least) for params, least in timed.items()}
    return min(timed, key=timed.__getitem__), list(trials.values())


def _trial(search: Callable[[SearchParams], Scores], truth: Scores, params: SearchParams) -> Trial:
    found, seconds = _timed(lambda: search(params))
    return Trial(params.nprobe, params.rescore, recall(found, truth, DEPTH), round(seconds * 1000 / len(truth), 4))


def _timed(call: Callable[[], _Of]) -> tuple[_Of, float]:
    """What a call gives, and the seconds it takes."""
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def _quickest(
    time_of: Callable[[SearchParams], float], times: Mapping[SearchParams, float]
) -> dict[SearchParams, float]:
    """The least time of each, of the one known and more, taken in turns: a machine's busy moment is not to choose."""
    least = dict(times)
    for _ in range(_TURNS if len(least) > 1 else 0):
        for params, before in least.items():
            least[params] = min(before, time_of(params))
    return least


def calibrate_filtered(
    worst: Callable[[SearchParams], float], params: SearchParams, lists: int, target: float
) -> SearchParams:
    """Choose how hard to look under filters: the cheapest that brings the worst of them to the target.

    Args:
        worst: the lowest recall of all filters tried, with these parameters.
        lists: of the index; 0 for a flat one, which has nothing to choose.
    """
    if lists == 0:
        return params
    good: dict[SearchParams, float] = {}
    best = (-1.0, params)
    fewest = math.inf  # probes that reach the target
    most = lists / params.nprobe  # more probes than lists there are not
    for rescore in _RESCORES:
        for probes in _FILTERED_PROBES:
            if probes > 2 * most or probes >= fewest:
                break  # no better than what an earlier depth has reached with so many
            tried = replace(params, filtered_probes=probes, filtered_rescore=rescore)
            reached, seconds = _timed(lambda tried=tried: worst(tried))
            best = max(best, (reached, tried), key=lambda each: each[0])
            if reached >= target + MARGIN:
                good[tried], fewest = seconds, probes
                break
    timed = _quickest(lambda tried: _timed(lambda: worst(tried))[1], good)
    return min(timed, key=timed.__getitem__) if timed else best[1]
