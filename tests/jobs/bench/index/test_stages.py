"""How all peers are compared: recall by exact scores, the cheapest setting that reaches it, and warm caches."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.bench.index.peers.measuring import recall
from jobs.bench.index.peers.protocol import Case, Index, RowFilter, Search, Setting, Task
from jobs.bench.index.peers.stages import measure
from jobs.bench.index.peers.tuning import between, tune

ROWS, DIM = 400, 4


class Prefix(Index):
    """Finds the nearest among the first rows; a setting says how many, and `settings` which are tried."""

    settings: list[list[Setting]]

    def build(self) -> dict[str, Any]:
        raise AssertionError

    def open(self) -> None:
        raise AssertionError

    def sweeps(self, case: Case) -> list[list[Setting]]:
        return self.settings

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        rows = self.task.vectors[: setting["rows"]].astype(np.float32)
        return lambda query: np.argsort(-(rows @ query), kind="stable")[:100]


class SlowAtFirstEasy(Prefix):
    """Finds all for some queries, and is too slow to be tried with the others in the time of a first look."""

    easy: np.ndarray

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        found, of_easy = super().search(setting, row_filter), super().search({"rows": ROWS}, row_filter)

        def search(query: np.ndarray) -> np.ndarray:
            time.sleep(0.004)
            return (of_easy if (self.easy == query).all(axis=1).any() else found)(query)

        return search


class Recorded(Prefix):
    """Notes the queries that it searches for, and how many of them there were when its CPU time was asked for."""

    def open(self) -> None:
        self.searched: list[bytes] = []
        self.searched_before: list[int] = []

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        found = super().search(setting, row_filter)
        time.sleep(0.05)  # what is prepared once takes long

        def search(query: np.ndarray) -> np.ndarray:
            self.searched.append(query.tobytes())
            return found(query)

        return search

    def cpu_seconds(self) -> float:
        self.searched_before.append(len(self.searched))
        return super().cpu_seconds()


@pytest.fixture
def task(tmp_path: Path) -> Task:
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[200] = vectors[100]  # a tie
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float16))
    described = {"data": str(tmp_path), "folder": str(tmp_path), "index": "", "threads": 1, "target": 0.9}
    described |= {"seconds": 0.05, "columns": [], "cases": []}
    (tmp_path / "task.json").write_text(json.dumps(described))
    return Task(tmp_path / "task.json")


def case_of(task: Task, count: int, allowed: np.ndarray | None = None) -> Case:
    """`count` queries with their true scores; the first query is row 100 itself."""
    vectors = task.vectors.astype(np.float32)
    queries = np.concatenate([vectors[100:101], np.random.default_rng(1).standard_normal((count, DIM))])[:count]
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    scores = queries @ (vectors if allowed is None else vectors[allowed]).T
    truth = np.sort(scores, axis=1)[:, ::-1][:, :100]
    padded = np.full((count, 100), np.finfo(np.float32).min, np.float32)
    padded[:, : truth.shape[1]] = truth
    row_filter = None if allowed is None else RowFilter("column", (), 1, np.where(allowed, 0, 1))
    return Case("case", "image", queries, padded, row_filter)


def best(task: Task, case: Case) -> np.ndarray:
    return np.argsort(-(task.vectors.astype(np.float32) @ case.queries[0]), kind="stable")[:100]


def test_recall_counts_ties_as_found_and_rows_only_once(task: Task) -> None:
    case = case_of(task, 1)
    found = best(task, case)
    assert recall(task, case, [found], 100) == 1.0
    assert recall(task, case, [found[:50]], 100) == 0.5
    assert recall(task, case, [np.repeat(found[:50], 2)], 100) == 0.5
    assert recall(task, case, [np.full(100, -1)], 100) == 0.0
    assert set(found[:2]) == {100, 200}  # either of the two is as good as the other
    assert recall(task, case, [np.array([200])], 10) == recall(task, case, [np.array([100])], 10) == 0.1


def test_recall_under_a_filter_that_allows_few_rows_is_of_these(task: Task) -> None:
    allowed = np.zeros(ROWS, bool)
    allowed[:20] = True
    case = case_of(task, 1, allowed)
    assert recall(task, case, [np.arange(20)], 100) == 1.0
    assert recall(task, case, [np.arange(10)], 100) == 0.5
    assert recall(task, case, [np.arange(10, 40)], 100) == 0.5


def rows_tried(tuned: dict[str, Any]) -> list[int]:
    return [point["setting"]["rows"] for point in tuned["points"]]


def test_sweep_is_tried_up_to_the_first_that_reaches_the_target_and_one_more(task: Task) -> None:
    index = Prefix(task)
    index.settings = [[{"rows": rows} for rows in (50, 360, 395, 398, 400)]]
    tuned = tune(index, case_of(task, 30))
    assert rows_tried(tuned)[:4] == [50, 360, 395, 398]
    assert 400 not in rows_tried(tuned)


def test_cheaper_settings_are_tried_between_the_first_that_reaches_the_target_and_the_last_that_missed(
    task: Task,
) -> None:
    index = Prefix(task)
    index.settings = [[{"rows": rows, "kind": "a"} for rows in (50, 320, 420)]]
    tuned = tune(index, case_of(task, 30))
    assert rows_tried(tuned) == [50, 320, 420, 370, 345]
    assert tuned["chosen"]["setting"] == {"rows": 370, "kind": "a"}


def test_setting_between_two_is_in_the_middle_of_all_numbers_that_differ() -> None:
    assert between({"ef": 100, "scan": "strict"}, {"ef": 200, "scan": "strict"}) == {"ef": 150, "scan": "strict"}
    assert between({"refine": 2, "ef": 400}, {"refine": 4, "ef": 800}) == {"refine": 3, "ef": 600}
    assert between({"factor": 1.0}, {"factor": 2.0}) == {"factor": 1.5}
    assert between({"nprobe": 4}, {"nprobe": 5}) is None
    assert between({"nprobe": 4}, {"nprobe": 4}) is None


def test_setting_that_misses_the_target_on_all_queries_makes_room_for_a_deeper_one(task: Task) -> None:
    case = case_of(task, 40)  # there is time for 25 of them at most
    index = SlowAtFirstEasy(task)
    index.easy = case.queries[:30]
    index.settings = [[{"rows": rows} for rows in (50, 160, 400)]]
    chosen = tune(index, case)["chosen"]
    assert chosen["queries"] == 40
    assert chosen["recall_at_100"] >= 0.9
    assert chosen["setting"]["rows"] > 160


def test_setting_of_the_highest_recall_is_chosen_where_none_reaches_the_target(task: Task) -> None:
    index = Prefix(task)
    index.settings = [[{"rows": 50}, {"rows": 200}], [{"rows": 100}]]
    tuned = tune(index, case_of(task, 30))
    assert tuned["chosen"]["setting"] == {"rows": 200}
    assert tuned["chosen"]["recall_at_100"] < 0.9


def test_sweep_whose_recall_no_longer_grows_ends_with_its_deepest_setting(task: Task) -> None:
    index = Prefix(task)
    index.settings = [[{"rows": 200, "step": step} for step in ("a", "b", "c", "d", "e", "f")]]
    tuned = tune(index, case_of(task, 30))
    assert [point["setting"]["step"] for point in tuned["points"]] == ["a", "b", "c", "f"]
    index.settings = [[{"rows": rows} for rows in (200, 200, 201, 201, 201, 400)]]
    assert tune(index, case_of(task, 30))["chosen"]["recall_at_100"] >= 0.9


def test_sweep_goes_on_where_its_first_settings_find_hardly_anything(task: Task) -> None:
    index = Prefix(task)
    steps = [{"rows": 0, "step": step} for step in ("a", "b", "c", "d")]
    index.settings = [[*steps, {"rows": 400, "step": "e"}], [{"rows": 0, "step": "f"}]]
    assert tune(index, case_of(task, 30))["chosen"]["recall_at_100"] >= 0.9


def test_sweeps_go_on_until_one_reaches_the_target_however_long_it_takes(task: Task) -> None:
    task.seconds = 1e-6  # time is over at once
    index = Prefix(task)
    index.settings = [[{"rows": 100, "kind": "a"}, {"rows": 200, "kind": "a"}], [{"rows": 50}, {"rows": 400}]]
    index.settings.append([{"rows": 400, "kind": "b"}])
    tuned = tune(index, case_of(task, 20))
    assert rows_tried(tuned)[:4] == [100, 200, 50, 400]
    assert tuned["chosen"]["recall_at_100"] >= 0.9


def test_index_that_calibrates_itself_is_measured_as_calibrated(task: Task) -> None:
    index = Prefix(task)
    index.calibrates = True
    index.settings = [[{"rows": 400}], [{"rows": 50}, {"rows": 390}]]
    tuned = tune(index, case_of(task, 30))
    assert tuned["chosen"]["setting"] == {"rows": 400}
    assert rows_tried(tuned)[:2] == [400, 50]


def test_every_query_is_searched_for_before_the_time_counts(task: Task) -> None:
    index, case = Recorded(task), case_of(task, 30)
    index.open()
    measured = measure(index, case, {"rows": ROWS})
    assert index.searched[0] == case.queries[0].tobytes()
    assert index.searched[1:31] == [query.tobytes() for query in case.queries]
    assert index.searched_before[0] == 31
    assert measured["queries"] == 30
    assert measured["recall_at_100"] == 1.0


def test_what_is_prepared_for_a_search_counts_for_the_first_one_only(task: Task) -> None:
    index = Recorded(task)
    index.open()
    measured = measure(index, case_of(task, 30), {"rows": ROWS})
    assert measured["first_ms"] >= 50
    assert 0 < measured["p50_ms"] < 50
