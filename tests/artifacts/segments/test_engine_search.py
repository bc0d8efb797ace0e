"""Searches by an engine: an exact one in memory that counts its calls, with the limits that a test gives it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts.engines.base import ALL_CONDITIONS, Capabilities, CollectionSearch, Found
from artifacts.engines.collection import Collection
from artifacts.engines.reference import EngineRef
from artifacts.errors import EngineUnavailable, QueryError
from artifacts.index.params import SearchParams
from artifacts.products.filters import Condition, Filter
from artifacts.release.search import search_products
from artifacts.segments.search import engine as engine_search
from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment
from tests.artifacts.building import DIM, product_table, queries_like, unit_vectors, write_delta, write_segment
from tests.waiting import wait_until

ROWS = 400
PARAMS = SearchParams(nprobe=10, rescore=2, filtered_probes=2, filtered_rescore=2)


@dataclass
class ExactEngine:
    """Finds the nearest rows exactly, at most `most_found` of them below the greatest effort."""

    max_results: int | None = None
    most_found: int = 10**9
    missing: int = 0  # last rows that it does not find
    filters: bool = True
    excluded: str = ""  # collection of which no row passes any filter
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    calls: list[tuple[int, int, Filter]] = field(default_factory=list)  # k, effort, conditions
    fetched: list[int] = field(default_factory=list)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(self.max_results, ALL_CONDITIONS, (10, 100), repeatable=True)

    def open(self, collection: Collection) -> CollectionSearch:
        return _Search(self, self.vectors[collection.name], collection.name == self.excluded)


class _Search(CollectionSearch):
    def __init__(self, engine: ExactEngine, vectors: np.ndarray, is_excluded: bool) -> None:
        self._engine, self._vectors, self._is_excluded = engine, vectors, is_excluded

    def search(self, queries: np.ndarray, k: int, effort: int, conditions: Filter, seconds: float) -> list[Found]:
        self._engine.calls.append((k, effort, conditions))
        allowed = np.arange(len(self._vectors) - self._engine.missing)
        for condition in conditions if self._engine.filters else ():  # prices are row numbers
            allowed = allowed[: 0 if self._is_excluded else None]
            allowed = allowed[allowed <= condition.maximum]
        allowed = allowed if effort >= 100 else allowed[: self._engine.most_found]
        found: list[Found] = []
        for query in queries:
            scores = self._vectors[allowed].astype(np.float32) @ query
            order = np.argsort(-scores, kind="stable")[:k]
            found.append(Found(allowed[order], scores[order]))
        return found

    def vectors(self, rows: np.ndarray, seconds: float) -> np.ndarray:
        self._engine.fetched.append(len(rows))
        return self._vectors[rows].astype(np.float32)


@pytest.fixture(autouse=True)
def filters_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_search, "FEW_ROWS", 0)
    monkeypatch.setattr(engine_search, "FEW_FETCHED", 0)


def opened(folder: Path, engine: ExactEngine, vectors_at: str = "server", **delta: Any) -> Searcher:
    """A base of ROWS products with prices of 0, 1, …, and a delta if there are arguments for one."""
    vectors = unit_vectors(ROWS)
    reference = EngineRef(kind="exact_engine", name="lookalike_base_0", vectors=vectors_at)  # type: ignore[arg-type]
    write_segment(folder / "base", vectors, segment_id="base", engine=reference)
    engine.vectors["lookalike_base_0"] = vectors

    def open_segment(name: str, base: Segment | None = None) -> Segment:
        return Segment(folder / name, base, to_serve=True, open_engine=lambda kind: engine)  # type: ignore[arg-type,return-value]

    base = open_segment("base")
    if not delta:
        return Searcher(base)
    write_delta(folder / "delta", folder / "base", **delta)
    return Searcher(base, open_segment("delta", base))


def cheap(searcher: Searcher, maximum: int) -> Any:
    """The filter of products up to a price."""
    return searcher.row_filter(np.arange(maximum + 1), (Condition("price", maximum=float(maximum)),))


def best(query: np.ndarray, k: int, rows: int = ROWS) -> set[int]:
    return set(np.argsort(-(unit_vectors(ROWS)[:rows].astype(np.float32) @ query))[:k].tolist())


@pytest.mark.parametrize("vectors_at", ["server", "engine"])
def test_engine_finds_the_best_rows_and_is_told_the_filter(tmp_path: Path, vectors_at: str) -> None:
    engine = ExactEngine()
    searcher = opened(tmp_path, engine, vectors_at)
    (query,) = queries_like(unit_vectors(ROWS), 1)
    (found,), plan = searcher.search(query[None], 10, PARAMS, cheap(searcher, 199))
    assert set(found.rows.tolist()) == best(query, 10, 200)
    assert plan.path == "exact_engine"
    ((k, effort, conditions),) = engine.calls
    assert (k, effort) == ((20, 20) if vectors_at == "server" else (10, 20))
    assert conditions == (Condition("price", maximum=199.0),)
    assert engine.fetched == []


def test_engine_is_asked_once_more_with_more_effort_and_then_no_more(tmp_path: Path) -> None:
    engine = ExactEngine(most_found=30)
    searcher = opened(tmp_path, engine)
    (found,), _ = searcher.search(queries_like(unit_vectors(ROWS), 1), 40, PARAMS)
    assert len(found.rows) == 40
    assert [(k, effort) for k, effort, _ in engine.calls] == [(80, 10), (80, 100)]


@pytest.mark.parametrize("with_delta", [False, True], ids=["base", "base and delta"])
def test_base_whose_rows_are_dropped_is_asked_for_more_rows_and_with_no_more_effort(
    tmp_path: Path, with_delta: bool
) -> None:
    """A delta of which no row passes a filter says nothing of what the base has."""
    engine = ExactEngine(excluded="lookalike_delta_0")
    new = unit_vectors(100 if with_delta else 0, seed=5)
    products = product_table([f"n{row}" for row in range(len(new))], price=[9999.0] * len(new))
    engine.vectors["lookalike_delta_0"] = new
    deleted = [f"p{row}" for row in range(0, ROWS, 2)]
    searcher = opened(tmp_path, engine, deleted=deleted, vectors=new, products=products)
    row_filter = searcher.changed(cheap(searcher, ROWS - 1), np.empty(0, np.int64))
    (found,), _ = searcher.search(queries_like(unit_vectors(ROWS), 1), 60, PARAMS, row_filter)
    assert len(found.rows) == 60
    assert max(k for k, _, _ in engine.calls) > 120
    assert {effort for _, effort, _ in engine.calls} == {20}


@pytest.mark.parametrize("vectors_at", ["server", "engine"])
def test_rows_that_the_engine_misses_are_scored_one_by_one(tmp_path: Path, vectors_at: str) -> None:
    engine = ExactEngine(missing=350)
    searcher = opened(tmp_path, engine, vectors_at)
    queries = queries_like(unit_vectors(ROWS), 3)
    found, _ = searcher.search(queries, 60, PARAMS)
    assert [set(each.rows.tolist()) for each in found] == [best(query, 60) for query in queries]
    assert engine.fetched == ([] if vectors_at == "server" else [ROWS])  # once for all queries


@pytest.mark.parametrize("vectors_at", ["server", "engine"])
def test_rows_that_the_engine_should_have_left_out_are_not_returned(tmp_path: Path, vectors_at: str) -> None:
    engine = ExactEngine(filters=False)
    searcher = opened(tmp_path, engine, vectors_at, deleted=["p3", "p5"])
    (query,) = queries_like(unit_vectors(ROWS)[[3, 5]], 1)
    (found,), _ = searcher.search(query[None], 20, PARAMS)
    assert len(found.rows) == 20
    assert not {3, 5} & set(found.rows.tolist())
    row_filter = searcher.changed(cheap(searcher, 99), np.empty(0, np.int64))
    (found,), _ = searcher.search(query[None], 20, PARAMS, row_filter)
    expected = np.argsort(-(unit_vectors(ROWS)[:100].astype(np.float32) @ query))
    assert set(found.rows.tolist()) == set(expected[~np.isin(expected, [3, 5])][:20].tolist())


def test_rows_of_the_delta_are_numbered_after_those_of_the_base(tmp_path: Path) -> None:
    engine = ExactEngine()
    new = unit_vectors(3, seed=5)
    searcher = opened(tmp_path, engine, vectors=new, products=product_table(["n0", "n1", "n2"]))
    engine.vectors["lookalike_delta_0"] = new
    (found,), _ = searcher.search(new[1].astype(np.float32)[None], 5, PARAMS)
    assert found.rows[0] == ROWS + 1
    assert found.scores[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("vectors_at", ["server", "engine"])
@pytest.mark.parametrize("few", [50, 0])  # changed rows are scored, or found by a search without the filter
def test_rows_whose_attributes_changed_are_found_by_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors_at: str, few: int
) -> None:
    engine = ExactEngine()
    updates = product_table(["p399"], price=[1.0])
    searcher = opened(tmp_path, engine, vectors_at, updates=updates)
    engine.vectors["lookalike_delta_0"] = np.empty((0, DIM), np.float16)
    row_filter = searcher.changed(cheap(searcher, 99), np.array([399]))
    monkeypatch.setattr(engine_search, "FEW_ROWS", few)
    monkeypatch.setattr(engine_search, "FEW_FETCHED", few)
    query = unit_vectors(ROWS)[399].astype(np.float32)
    (found,), plan = searcher.search(query[None], 5, PARAMS, row_filter)
    assert plan.path == "exact_engine"
    assert found.rows[0] == 399
    assert {conditions for _, _, conditions in engine.calls} == (
        {(Condition("price", maximum=99.0),)} if few else {(Condition("price", maximum=99.0),), ()}
    )


def test_more_results_than_the_engine_has_in_one_answer_are_refused_or_cut(tmp_path: Path) -> None:
    searcher = opened(tmp_path, ExactEngine(max_results=50), "engine")
    (query,) = queries_like(unit_vectors(ROWS), 1)

    def found(k: int, pictures: int) -> list[int]:
        hits, _ = search_products(
            searcher, lambda rows: [f"p{row // pictures}" for row in rows.tolist()], pictures, None,
            query[None], k, PARAMS, excluded=[()], exact=False, seconds=30,
        )  # fmt: skip
        return [hit.row for hit in hits[0]]

    assert len(found(50, 1)) == 50
    with pytest.raises(QueryError, match="at most 50") as raised:
        found(51, 1)
    assert raised.value.field == "offset"
    nearest = np.argsort(-(unit_vectors(ROWS).astype(np.float32) @ query), kind="stable")[:50].tolist()
    products = {row // 10: row for row in reversed(nearest)}  # the best row of each
    assert len(products) < 45
    assert sorted(found(45, 10)) == sorted(products.values())


def test_no_time_left_is_unavailable(tmp_path: Path) -> None:
    searcher = opened(tmp_path, ExactEngine())
    with pytest.raises(EngineUnavailable, match="time"):
        searcher.search(queries_like(unit_vectors(ROWS), 1), 5, PARAMS, seconds=0)


def test_closing_ends_the_threads_that_ask_for_the_delta(tmp_path: Path) -> None:
    engine = ExactEngine()
    searcher = opened(tmp_path, engine, deleted=["p0"], vectors=unit_vectors(5), products=product_table(list("abcde")))
    engine.vectors["lookalike_delta_0"] = unit_vectors(5)
    earlier = set(threading.enumerate())
    searcher.search(queries_like(unit_vectors(ROWS), 1), 10, PARAMS)

    begun = set(threading.enumerate()) - earlier
    assert begun
    searcher.close()
    wait_until(lambda: not any(thread.is_alive() for thread in begun))
