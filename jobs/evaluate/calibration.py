"""Search parameters: recall against exact search, and the cheapest parameters that reach a target.

Works on scores alone, so that the gate can use it on a release and a benchmark on a segment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from artifacts.errors import EngineTooSlow
from artifacts.index.params import SearchParams
from artifacts.segments.search.engine import EngineCandidates
from artifacts.segments.search.searcher import Searcher
from jobs.evaluate.results import Trial

_Value = TypeVar("_Value")

#: Results that recall is calibrated on.
DEPTH = 100


@dataclass(frozen=True)
class Width:
    """The search parameter that says how widely to search under a filter.

    Attributes:
        values: that are tried, cheapest first.
        halvings: times that the gap below the first value that reaches the target is halved.
    """

    name: Literal["filtered_probes", "breadth"]
    values: tuple[int, ...]
    halvings: int = 0


@dataclass(frozen=True)
class Depths:
    """The values that are tried, cheapest first."""

    nprobes: tuple[int, ...]
    rescores: tuple[int, ...]
    filtered_rescores: tuple[int, ...]
    width: Width = Width("filtered_probes", (1, 2, 4, 8, 16, 32, 64))


IVF_DEPTHS = Depths((4, 8, 16, 32, 64, 128, 256, 512, 1024), (1, 2, 3, 4, 6, 8, 16, 32), (1, 2, 3, 4, 6, 8, 16, 32))
#: Of an IVF whose lists a model chooses under filters.
MODEL_DEPTHS = replace(IVF_DEPTHS, width=Width("breadth", (2, 4, 8, 16, 32, 64, 128), halvings=3))
#: In a graph, nprobe is efSearch for DEPTH results, so no less than them; and nothing is rescored by codes.
GRAPH_DEPTHS = Depths((100, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096), (1,), (1,))
#: Of an engine, whose own scores order the candidates; its efforts take the place of nprobes.
ENGINE_DEPTHS = Depths((1,), (1, 2, 4, 8), (1, 2, 4, 8, 16))
#: Chosen parameters must beat the target by this much, since they are chosen on the queries they are measured with.
MARGIN = 0.005
#: Gain of recall by the next nprobe from which on deeper ones are tried, once many lists are probed: with too few
#: candidates, the codes' errors limit recall, however many lists are probed.
_WORTHWHILE, _MANY_PROBES = 0.001, 64
#: Further timings of the parameters that reach the target. More would double the time that the gate takes.
_REPEATS = 1

#: Scores of each query's results, float[j], descending.
Scores = Sequence[np.ndarray]


def depths_of(searcher: Searcher) -> Depths:
    """Return the depths to try in an index."""
    if searcher.has_graph:
        return GRAPH_DEPTHS
    if isinstance(searcher.candidates, EngineCandidates):
        efforts = searcher.candidates.engine.capabilities.efforts or ENGINE_DEPTHS.nprobes
        rescores = ENGINE_DEPTHS.rescores if searcher.candidates.scores_exactly else (1,)
        return replace(ENGINE_DEPTHS, nprobes=efforts, rescores=rescores)
    return MODEL_DEPTHS if searcher.ivf is not None and searcher.ivf.shape.has_model else IVF_DEPTHS


def recall(found: Scores, truth: Scores, depth: int) -> float:
    """recall@depth: the share of the true best `depth` results that were found.

    A result whose score equals that of the last true one counts as one of them. Without this rule, catalogs that show
    one picture under many products could never reach 1.
    """
    shares = [
        min(1.0, np.count_nonzero(scores[:depth] >= best[:depth][-1] - 1e-6) / len(best[:depth]))
        for scores, best in zip(found, truth, strict=True)
        if len(best)
    ]
    return float(np.mean(shares)) if shares else 1.0


def calibrate(
    search: Callable[[SearchParams], Scores], truth: Scores, lists: int, target: float, depths: Depths = IVF_DEPTHS
) -> tuple[SearchParams, list[Trial]]:
    """Choose nprobe and the rescoring depth: the cheapest that reach `target`, or else those of the highest recall.

    Args:
        search: returns the best `DEPTH` scores of every query.
        lists: of the index, or rows in a graph; 0 for a flat index, which has nothing to choose.
        depths: that are tried.

    Raises:
        EngineTooSlow: all of them are too slow. Those that are slower than one that is are not tried.
    """
    if lists == 0:
        return SearchParams(), [_trial(search, truth, SearchParams())]
    trials: dict[SearchParams, Trial] = {}
    nprobes = sorted({min(nprobe, lists) for nprobe in depths.nprobes})

    def recall_at(nprobe: int, rescore: int) -> float:
        params = SearchParams(nprobe, rescore)
        trials[params] = _trial(search, truth, params)
        return trials[params].recall_at_100

    good: dict[SearchParams, float] = {}
    for rescore in depths.rescores:
        with suppress(EngineTooSlow):
            if nprobe := _smallest(lambda nprobe, rescore=rescore: recall_at(nprobe, rescore), nprobes, target):
                params = SearchParams(nprobe, rescore)
                good[params] = trials[params].milliseconds
    if not trials:
        raise EngineTooSlow("the engine takes longer for a search than servers wait, whatever the search parameters")
    if not good:
        best = max(trials, key=lambda params: trials[params].recall_at_100)
        return best, _in_order(trials)
    fastest = _fastest_times(lambda params: _trial(search, truth, params).milliseconds, good)
    trials |= {params: replace(trials[params], milliseconds=value) for params, value in fastest.items()}
    return min(fastest, key=fastest.__getitem__), _in_order(trials)


def _in_order(trials: Mapping[SearchParams, Trial]) -> list[Trial]:
    return sorted(trials.values(), key=lambda trial: (trial.rescore, trial.nprobe))


def _smallest(recall_at: Callable[[int], float], values: Sequence[int], target: float, halvings: int = 1) -> int | None:
    """Return the smallest value that reaches the target, of `values` and what lies between two; None if none does.

    Args:
        values: ascending.
        halvings: times that the gap below the first value that reaches the target is halved.
    """
    before, missed = 0.0, 0
    for value in values:
        reached = recall_at(value)
        if reached >= target + MARGIN:
            for _ in range(halvings if missed else 0):
                middle = (missed + value) // 2
                if middle == missed:
                    break
                missed, value = (missed, middle) if recall_at(middle) >= target + MARGIN else (middle, value)
            return value
        if value > _MANY_PROBES and reached - before < _WORTHWHILE:
            return None
        before, missed = reached, value
    return None


def _trial(search: Callable[[SearchParams], Scores], truth: Scores, params: SearchParams) -> Trial:
    found, seconds = _timed(lambda: search(params))
    milliseconds = round(seconds * 1000 / len(truth), 4)
    return Trial(params.nprobe, params.rescore, recall(found, truth, DEPTH), milliseconds, recall(found, truth, 10))


def _timed(call: Callable[[], _Value]) -> tuple[_Value, float]:
    """Return the result of a call, and the seconds it took."""
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def _fastest_times(
    time_of: Callable[[SearchParams], float], times: Mapping[SearchParams, float]
) -> dict[SearchParams, float]:
    """Return the shortest time of each setting. Settings are timed in turns, so that a busy moment does not decide."""
    fastest = dict(times)
    for _ in range(_REPEATS if len(fastest) > 1 else 0):
        for params, before in fastest.items():
            with suppress(EngineTooSlow):  # this time
                fastest[params] = min(before, time_of(params))
    return fastest


def calibrate_filtered(
    lowest_recall: Callable[[SearchParams], float],
    params: SearchParams,
    lists: int,
    target: float,
    depths: Depths = IVF_DEPTHS,
) -> SearchParams:
    """Choose how widely and deeply to search under filters: the cheapest that brings the worst filter to the target.

    Args:
        lowest_recall: the lowest recall of all filters, with these parameters.
        lists: of the index, or rows in a graph; 0 for a flat index, which has nothing to choose.
        depths: that are tried.
    """
    if lists == 0:
        return params
    trials: dict[SearchParams, tuple[float, float]] = {}  # recall and seconds

    width, values = depths.width, depths.width.values
    if width.name == "filtered_probes":  # a larger factor on nprobe would probe every list again
        values = tuple(value for value in values if value <= 2 * lists / params.nprobe)

    def trial_of(value: int, rescore: int) -> SearchParams:
        return replace(params, **{width.name: value, "filtered_rescore": rescore})

    def recall_at(value: int, rescore: int) -> float:
        trial = trial_of(value, rescore)
        trials[trial] = _timed(lambda: lowest_recall(trial))
        return trials[trial][0]

    good: dict[SearchParams, float] = {}
    for rescore in depths.filtered_rescores:
        with suppress(EngineTooSlow):
            value = _smallest(lambda value, rescore=rescore: recall_at(value, rescore), values, target, width.halvings)
            if value is not None:
                trial = trial_of(value, rescore)
                good[trial] = trials[trial][1]
                values = tuple(each for each in values if each < value)  # deeper rescoring needs no greater width
    if not trials:
        raise EngineTooSlow("the engine takes longer for a filtered search than servers wait, whatever the parameters")
    if not good:
        return max(trials, key=lambda trial: trials[trial][0])
    fastest = _fastest_times(lambda trial: _timed(lambda: lowest_recall(trial))[1], good)
    return min(fastest, key=fastest.__getitem__)
