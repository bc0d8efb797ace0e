"""How all peers are compared: recall by exact scores, and the cheapest setting of each sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.bench.index.peers.protocol import Case, Index, RowFilter, Search, Setting, Task
from jobs.bench.index.peers.stages import recall, tune

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


@pytest.fixture
def task(tmp_path: Path) -> Task:
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[200] = vectors[100]  # a tie
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float16))
    described = {"data": str(tmp_path), "folder": str(tmp_path), "index": "", "threads": 1, "target": 0.9}
    described |= {"seconds": 0.01, "columns": [], "cases": []}
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
    row_filter = None if allowed is None else RowFilter("column", (), 1, allowed)
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


def test_cheapest_setting_of_a_sweep_that_reaches_the_target_is_chosen(task: Task) -> None:
    index = Prefix(task)
    index.settings = [[{"rows": rows} for rows in (50, 200, 395, 398, 400)]]
    tuned = tune(index, case_of(task, 30))
    assert tuned["chosen"]["setting"] == {"rows": 395}
    assert [point["setting"]["rows"] for point in tuned["points"]] == [50, 200, 395, 398]


def test_setting_of_the_highest_recall_is_chosen_where_none_reaches_the_target(task: Task) -> None:
    index = Prefix(task)
    index.settings = [[{"rows": 50}, {"rows": 200}], [{"rows": 100}]]
    tuned = tune(index, case_of(task, 30))
    assert tuned["chosen"]["setting"] == {"rows": 200}
    assert tuned["chosen"]["recall_at_100"] < 0.9


def test_sweep_ends_where_recall_no_longer_grows(task: Task) -> None:
    index = Prefix(task)
    index.settings = [[{"rows": 200, "step": step} for step in range(8)]]
    assert len(tune(index, case_of(task, 30))["points"]) == 3
