"""Recall, and the choice of the cheapest parameters that reach a target."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts.errors import EngineTooSlow
from artifacts.index.params import SearchParams
from jobs.evaluate.calibration import DEPTH, GRAPH_DEPTHS, MARGIN, MODEL_DEPTHS, calibrate, calibrate_filtered, recall


def test_recall_counts_true_results_and_equal_scores() -> None:
    truth = [np.array([0.9, 0.8, 0.7, 0.6])]
    assert recall(truth, truth, 4) == 1
    assert recall([np.array([0.9, 0.8, 0.5, 0.4])], truth, 4) == 0.5
    assert recall([np.array([0.9])], truth, 2) == 0.5
    # a result with the score of the last true one counts
    assert recall([np.array([0.9, 0.8, 0.8])], [np.array([0.9, 0.8])], 2) == 1
    assert recall([np.empty(0)], [np.empty(0)], 10) == 1


class Index:
    """Finds a share of the results: nprobe / enough, limited by the rescoring depth."""

    def __init__(self, enough: int, depth: int) -> None:
        self.enough, self.depth = enough, depth
        self.searches: list[SearchParams] = []

    def share(self, params: SearchParams) -> float:
        self.searches.append(params)
        return min(1.0, params.nprobe / self.enough, params.rescore / self.depth)

    def __call__(self, params: SearchParams) -> list[np.ndarray]:
        return [np.ones(round(self.share(params) * DEPTH))]


TRUTH = [np.ones(DEPTH)]


def test_calibration_probes_no_deeper_than_the_target_needs() -> None:
    index = Index(enough=32, depth=4)
    params, trials = calibrate(index, TRUTH, lists=1024, target=0.95)
    assert params.nprobe == 32
    assert params.rescore >= 4
    assert max(params.nprobe for params in index.searches if params.rescore >= 4) == 32  # 32 are enough
    assert [trial.recall_at_100 >= 0.95 + MARGIN for trial in trials].count(True) == 5  # one for each depth from 4 on


def test_calibration_never_probes_more_lists_than_there_are() -> None:
    index = Index(enough=200, depth=1)
    params, _ = calibrate(index, TRUTH, lists=100, target=0.95)
    assert max(params.nprobe for params in index.searches) == 100
    assert params.nprobe == 100  # the highest recall, below the target


class SlowIndex(Index):
    """Too slow from some probes on, or under filters from some multiple of them on."""

    def __init__(self, enough: int, depth: int, *, slow: int = 10_000, slow_filtered: int = 10_000) -> None:
        super().__init__(enough, depth)
        self.slow, self.slow_filtered = slow, slow_filtered

    def share(self, params: SearchParams) -> float:
        share = super().share(params)
        if params.nprobe >= self.slow or params.filtered_probes >= self.slow_filtered:
            raise EngineTooSlow("too slow")
        return share


def test_probes_that_are_too_slow_are_not_chosen_and_no_more_are_tried() -> None:
    index = SlowIndex(enough=128, depth=1, slow=32)
    params, trials = calibrate(index, TRUTH, lists=1024, target=0.95)
    assert params.nprobe == 16  # the highest recall of those that are fast enough
    assert max(trial.nprobe for trial in trials) == 16
    assert max(params.nprobe for params in index.searches) == 32


def test_probes_under_filters_that_are_too_slow_are_not_chosen() -> None:
    index = SlowIndex(enough=8, depth=1, slow_filtered=8)
    chosen = calibrate_filtered(
        lambda params: index.share(params) * params.filtered_probes / 16, SearchParams(8, 1), lists=1024, target=0.95
    )
    assert chosen.filtered_probes == 4
    assert max(params.filtered_probes for params in index.searches) == 8


def test_index_that_is_too_slow_whatever_is_tried_is_an_error() -> None:
    with pytest.raises(EngineTooSlow, match="whatever the search parameters"):
        calibrate(SlowIndex(enough=8, depth=1, slow=1), TRUTH, lists=1024, target=0.95)


def test_depths_of_a_graph_are_no_less_than_the_results() -> None:
    index = Index(enough=300, depth=1)
    params, trials = calibrate(index, TRUTH, 10_000, 0.95, GRAPH_DEPTHS)
    assert (params.nprobe, params.rescore) == (320, 1)
    assert [trial.nprobe for trial in trials] == [100, 128, 192, 256, 320, 384]
    params, _ = calibrate(Index(enough=10, depth=1), TRUTH, 50, 0.95, GRAPH_DEPTHS)
    assert params.nprobe == 50  # all rows


def test_flat_index_has_default_parameters() -> None:
    index = Index(enough=1, depth=1)
    params, trials = calibrate(index, TRUTH, lists=0, target=0.95)
    assert params == SearchParams()
    assert len(trials) == 1
    assert calibrate_filtered(lambda _: 0.0, params, 0, 0.95) == params


@pytest.mark.parametrize(("probes", "rescore"), [(8, 16), (1, 2), (64, 32)])
def test_worst_filter_decides(probes: int, rescore: int) -> None:
    def lowest_recall(params: SearchParams) -> float:
        return min(1.0, params.filtered_probes / probes, params.filtered_rescore / rescore)

    chosen = calibrate_filtered(lowest_recall, SearchParams(8, 4), lists=4096, target=0.95)
    assert (chosen.nprobe, chosen.rescore) == (8, 4)
    assert chosen.filtered_probes >= probes
    assert chosen.filtered_rescore >= rescore


@pytest.mark.parametrize("enough", [2, 5, 7, 8, 11, 50, 120])
def test_breadth_is_found_to_within_a_sixteenth(enough: int) -> None:
    chosen = calibrate_filtered(
        lambda params: float(params.breadth >= enough), SearchParams(8, 4), 64, 0.95, depths=MODEL_DEPTHS
    )
    assert enough <= chosen.breadth <= enough * 17 / 16 + 1
    assert chosen.filtered_probes == SearchParams.filtered_probes


def test_best_parameters_are_chosen_below_the_target() -> None:
    chosen = calibrate_filtered(
        lambda params: 0.5 + params.filtered_probes / 1000, SearchParams(8, 4), lists=64, target=0.95
    )
    assert chosen.filtered_probes == 16  # 8 probes times 16 are more than the 64 lists, once


class BusyAtFirst:
    """A clock that each search advances by its cost, and the first searches by ten times their cost."""

    def __init__(self, first: int) -> None:
        self.now, self.searches, self.first = 0.0, 0, first

    def cost(self, probes: int, rescore: int) -> float:
        return probes + 3 * rescore

    def take(self, probes: int, rescore: int) -> None:
        self.searches += 1
        self.now += self.cost(probes, rescore) * (10 if self.searches <= self.first else 1)

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize("first", [0, 4, 12, 20, 100])
def test_busy_moment_does_not_decide(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    busy, index = BusyAtFirst(first), Index(enough=32, depth=4)
    monkeypatch.setattr("jobs.evaluate.calibration.time", busy)

    def search(params: SearchParams) -> list[np.ndarray]:
        busy.take(params.nprobe, params.rescore)
        return index(params)

    params, trials = calibrate(search, TRUTH, lists=1024, target=0.95)
    assert (params.nprobe, params.rescore) == (32, 4)
    chosen = next(trial for trial in trials if (trial.nprobe, trial.rescore) == (32, 4))
    assert chosen.milliseconds == min(trial.milliseconds for trial in trials if trial.recall_at_100 == 1)


@pytest.mark.parametrize("first", [0, 5, 9, 100])
def test_busy_moment_does_not_decide_under_filters(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = BusyAtFirst(first)
    monkeypatch.setattr("jobs.evaluate.calibration.time", busy)

    def lowest_recall(params: SearchParams) -> float:
        busy.take(params.filtered_probes, params.filtered_rescore)
        return min(1.0, params.filtered_probes * params.filtered_rescore / 32)  # 4 at a depth of 8, 2 at one of 16, …

    chosen = calibrate_filtered(lowest_recall, SearchParams(8, 4), lists=4096, target=0.95)
    costs = {(probes, 32 // probes): busy.cost(probes, 32 // probes) for probes in (1, 2, 4, 8, 16)}
    assert (chosen.filtered_probes, chosen.filtered_rescore) == min(costs, key=costs.__getitem__)
