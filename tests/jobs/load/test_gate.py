"""The gate, where an engine is slow or goes away while it measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from artifacts.engines.base import Found
from artifacts.engines.pgvector.search import PgvectorSearch
from artifacts.errors import EngineTooSlow, EngineUnavailable
from artifacts.products.filters import Filter
from artifacts.settings import Settings
from jobs.evaluate import measure
from jobs.evaluate.step import run_evaluate
from jobs.load.step import run_load
from jobs.steps import StepContext
from tests.pipeline import prepared, run_index, write_small_catalog

pytestmark = pytest.mark.pgvector

#: Answers a search of so many queries and this effort, or does not.
Delay = Callable[[int, int, float], None]


@pytest.fixture
def context(settings_in: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepContext:
    """With a loaded candidate, all of whose filters reach the engine."""
    monkeypatch.setattr("artifacts.segments.search.engine.FEW_ROWS", 0)
    context = prepared(write_small_catalog(tmp_path / "shop"), settings_in(tmp_path, evaluation_queries=36))
    run_index(context)
    run_load(context)
    return context


def delay_searches(monkeypatch: pytest.MonkeyPatch, delay: Delay) -> None:
    search = PgvectorSearch.search

    def delayed(
        self: PgvectorSearch, queries: np.ndarray, k: int, effort: int, conditions: Filter, seconds: float
    ) -> list[Found]:
        delay(len(queries), effort, seconds)
        return search(self, queries, k, effort, conditions, seconds)

    monkeypatch.setattr(PgvectorSearch, "search", delayed)


def test_engine_that_takes_a_second_a_query_is_measured(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def a_second_each(queries: int, effort: int, seconds: float) -> None:
        if queries > seconds:
            raise EngineUnavailable("no answer in time")

    delay_searches(monkeypatch, a_second_each)
    assert run_evaluate(context).report.passed


def test_engine_that_is_too_slow_for_servers_ends_the_gate(
    context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)

    def too_slow(queries: int, effort: int, seconds: float) -> None:
        clock.now += seconds
        raise EngineUnavailable("no answer in time")

    delay_searches(monkeypatch, too_slow)
    with pytest.raises(EngineTooSlow, match="takes longer for a search than servers wait"):
        run_evaluate(context)


def test_engine_that_goes_away_ends_the_gate(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(queries: int, effort: int, seconds: float) -> None:
        raise EngineUnavailable("connection refused")

    delay_searches(monkeypatch, gone)
    with pytest.raises(EngineUnavailable, match="connection refused"):
        run_evaluate(context)


class Clock:
    """The module `time`, whose time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now
