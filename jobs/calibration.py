"""How hard to search: recall against exact search, and the cheapest parameters that reach a target.

Works on scores alone, so that the gate can use it on a release and a benchmark on a segment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from artifacts.index import SearchParams
from jobs.evaluation import Trial

#: Results that recall is calibrated on.
DEPTH = 100

#: Depths tried, cheapest first.
_NPROBES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
_RESCORES = (2, 4, 8, 16, 32)
_FILTERED_PROBES = (1, 2, 4, 8, 16, 32, 64)
#: Chosen parameters must beat the target by this much, since they are chosen on the queries they are measured with.
MARGIN = 0.005

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
        trials = [_trial(search, truth, SearchParams())]
    else:
        trials = []
        for rescore in _RESCORES:
            for nprobe in sorted({min(nprobe, lists) for nprobe in _NPROBES}):
                trials.append(_trial(search, truth, SearchParams(nprobe, rescore)))
                if trials[-1].recall_at_100 >= target + MARGIN:
                    break  # more probes at this depth only cost more
    good = [trial for trial in trials if trial.recall_at_100 >= target + MARGIN]
    if good:
        best = min(good, key=lambda trial: trial.milliseconds)
    else:
        best = max(trials, key=lambda trial: trial.recall_at_100)
    return SearchParams(best.nprobe, best.rescore), trials


def _trial(search: Callable[[SearchParams], Scores], truth: Scores, params: SearchParams) -> Trial:
    began = time.perf_counter()
    found = search(params)
    milliseconds = (time.perf_counter() - began) * 1000 / len(truth)
    return Trial(params.nprobe, params.rescore, recall(found, truth, DEPTH), round(milliseconds, 4))


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
    good: list[tuple[float, SearchParams]] = []
    best = (-1.0, params)
    most = lists / params.nprobe  # more probes than lists there are not
    for rescore in _RESCORES:
        for probes in _FILTERED_PROBES:
            if probes > 2 * most or (good and probes >= good[-1][1].filtered_probes):
                break  # no better than what an earlier depth has reached with so many
            tried = replace(params, filtered_probes=probes, filtered_rescore=rescore)
            began = time.perf_counter()
            reached = worst(tried)
            seconds = time.perf_counter() - began
            best = max(best, (reached, tried), key=lambda each: each[0])
            if reached >= target + MARGIN:
                good.append((seconds, tried))
                break
    return min(good, key=lambda each: each[0])[1] if good else best[1]
