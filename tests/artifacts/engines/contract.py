"""What every engine has to do: a class of tests, to be inherited with a fixture `engine`.

class TestPgvector(EngineContract):
    @pytest.fixture
    def engine(self, …) -> Engine: …
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from artifacts.engines.base import CollectionSearch, Engine
from artifacts.engines.checking import check_sample
from artifacts.engines.collection import BATCH_ROWS, Collection, RowBatch
from artifacts.engines.pushdown import pushed_down
from artifacts.engines.reference import NAME_PREFIX
from artifacts.errors import EngineError
from artifacts.products.filters import Condition
from tests.artifacts.engines.conftest import FILTERS, SCHEMA, Rows


def no_progress(done: int, total: int) -> None:
    pass


@contextlib.contextmanager
def loaded(engine: Engine, rows: Rows, name: str = "") -> Iterator[tuple[Collection, CollectionSearch]]:
    collection = rows.collection(name or f"{NAME_PREFIX}{uuid.uuid4().hex[:16]}")
    engine.build(collection, rows.batches, no_progress)
    search = engine.open(collection)
    try:
        yield collection, search
    finally:
        engine.drop(collection.name)


def check_rows(engine: Engine, collection: Collection, rows: Rows) -> None:
    """Check that a collection has each row once, and the right values."""
    assert engine.count(collection) == len(rows.vectors)
    sample = np.arange(0, len(rows.vectors), 97)
    check_sample(engine, collection, sample, rows.vectors[sample].astype(np.float32), rows.columns)


def _empty(rows: Rows) -> pa.Table:
    """The table of rows without any value."""
    return pa.table({field.name: pa.nulls(len(rows.table), field.type) for field in rows.table.schema})


def require_request_logged_without_key(
    engine: Engine, path: str, key: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that the client's own log names a request, and not the credential that it was sent with."""
    # Other tests may have configured logging, which disables the loggers that it does not name.
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", False)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "httpx"):
        engine.names()
    assert path in caplog.text
    assert key not in caplog.text


class EngineContract:
    """Subclasses give the fixture `engine`, of scope "class"."""

    #: recall@50 of the rows below, at the highest effort.
    recall = 0.95

    #: Options that another version may have as its defaults.
    other_options: ClassVar[dict[str, int | float | str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, engine: Engine, rows: Rows) -> Iterator[tuple[Collection, CollectionSearch]]:
        with loaded(engine, rows) as opened:
            yield opened

    @pytest.fixture
    def search(self, opened: tuple[Collection, CollectionSearch]) -> CollectionSearch:
        return opened[1]

    @pytest.fixture
    def effort(self, engine: Engine) -> int:
        return max(engine.capabilities.efforts, default=0)

    def test_search_finds_the_nearest_rows_with_their_inner_products(
        self, search: CollectionSearch, rows: Rows, effort: int
    ) -> None:
        queries = rows.queries(8)
        shares = []
        for query, found in zip(queries, search.search(queries, 50, effort, (), 30), strict=True):
            assert len(found.rows) == len(set(found.rows.tolist())) == 50
            assert (np.diff(found.scores) <= 1e-3).all()
            exact = rows.vectors[found.rows].astype(np.float32) @ query
            np.testing.assert_allclose(found.scores, exact, atol=5e-3)
            shares.append(len(np.intersect1d(found.rows, rows.best(query, 50))) / 50)
        assert np.mean(shares) >= self.recall

    @pytest.mark.parametrize("name", FILTERS)
    def test_filter_returns_only_rows_that_pass_and_finds_the_best(
        self, engine: Engine, search: CollectionSearch, rows: Rows, effort: int, name: str
    ) -> None:
        conditions = pushed_down(FILTERS[name], SCHEMA, engine.capabilities.conditions)
        if not conditions:
            pytest.skip(f"{engine.kind} does not apply this filter itself")
        (query,) = rows.queries(1)
        (found,) = search.search(query[None], 50, effort, conditions, 30)
        passing = rows.passing(conditions)
        assert np.isin(found.rows, passing).all()
        best = rows.best(query, 50, conditions)
        assert len(np.intersect1d(found.rows, best)) >= self.recall * len(best)

    def test_search_that_nothing_passes_finds_nothing(
        self, engine: Engine, search: CollectionSearch, rows: Rows, effort: int
    ) -> None:
        (found,) = search.search(rows.queries(1), 50, effort, (Condition("category", any_of=("no such",)),), 30)
        assert len(found.rows) == len(found.scores) == 0

    def test_search_for_more_rows_than_there_are_finds_all(
        self, engine: Engine, search: CollectionSearch, rows: Rows, effort: int
    ) -> None:
        limit = engine.capabilities.max_results
        k = min(limit or 10_000, 10_000)
        (found,) = search.search(rows.queries(1), k, effort, (), 30)
        assert len(found.rows) >= 0.99 * len(rows.vectors)

    def test_vectors_are_those_that_were_loaded_in_the_order_asked_for(
        self, search: CollectionSearch, rows: Rows
    ) -> None:
        numbers = np.array([2_100, 0, 7, len(rows.vectors) - 1])
        np.testing.assert_allclose(search.vectors(numbers, 30), rows.vectors[numbers].astype(np.float32), atol=1e-3)

    def test_vectors_of_a_missing_row_are_an_error(self, search: CollectionSearch, rows: Rows) -> None:
        with pytest.raises(EngineError, match="row"):
            search.vectors(np.array([0, len(rows.vectors) + 5]), 30)

    def test_loading_again_reads_nothing(
        self, engine: Engine, opened: tuple[Collection, CollectionSearch], rows: Rows
    ) -> None:
        rows.first_rows_read.clear()
        engine.build(opened[0], rows.batches, no_progress)
        assert rows.first_rows_read == []
        assert engine.count(opened[0]) == len(rows.vectors)

    def test_interrupted_load_goes_on_and_has_each_row_once(self, engine: Engine) -> None:
        many = Rows((engine.writers + 3) * BATCH_ROWS)
        collection = many.collection(f"{NAME_PREFIX}{uuid.uuid4().hex[:16]}")

        def dying(first_row: int) -> Iterator[RowBatch]:
            for number, batch in enumerate(many.batches(first_row)):
                if number == engine.writers + 2:
                    raise KeyboardInterrupt
                yield batch

        try:
            with pytest.raises(KeyboardInterrupt):
                engine.build(collection, dying, no_progress)
            assert not engine.is_complete(collection)
            engine.build(collection, many.batches, no_progress)
            check_rows(engine, collection, many)
        finally:
            engine.drop(collection.name)

    def test_batch_that_was_in_flight_when_a_load_ended_is_written_again(self, engine: Engine) -> None:
        many = Rows((engine.writers + 1) * BATCH_ROWS)
        collection = many.collection(f"{NAME_PREFIX}{uuid.uuid4().hex[:16]}")
        try:
            engine.create(collection)
            for number, batch in enumerate(many.batches(0)):
                if number != engine.writers - 1:  # the last but one
                    engine.write(collection, batch)
            engine.build(collection, many.batches, no_progress)
            check_rows(engine, collection, many)
        finally:
            engine.drop(collection.name)

    def test_collection_that_lacks_rows_is_refused_each_time_and_not_opened(self, engine: Engine) -> None:
        few = Rows(600)
        collection = few.collection(f"{NAME_PREFIX}{uuid.uuid4().hex[:16]}")
        try:
            engine.create(collection)
            engine.write(collection, RowBatch(0, few.vectors[:200], few.table.slice(0, 200)))
            engine.write(collection, RowBatch(400, few.vectors[400:], few.table.slice(400)))
            for _ in range(2):
                with pytest.raises(EngineError, match="400 rows"):
                    engine.complete(collection)
                assert not engine.is_complete(collection)
                with pytest.raises(EngineError, match=r"no complete collection|is not loaded"):
                    engine.open(collection)
        finally:
            engine.drop(collection.name)

    def test_complete_collection_is_kept_whatever_the_defaults_of_options_are_later(
        self, engine: Engine, opened: tuple[Collection, CollectionSearch], rows: Rows, effort: int
    ) -> None:
        later = replace(opened[0], options=self.other_options)
        assert engine.is_complete(later)
        engine.build(later, lambda first: pytest.fail("loaded again"), no_progress)
        (found,) = engine.open(later).search(rows.queries(1), 10, effort, (), 30)
        assert len(found.rows) == 10

    def test_all_options_that_a_collection_depends_on_are_recorded(self, engine: Engine) -> None:
        defaults, others = engine.stored_options({}), engine.stored_options(self.other_options)
        assert others == defaults | self.other_options

    def test_complete_collection_of_another_shape_is_refused_and_kept(
        self, engine: Engine, opened: tuple[Collection, CollectionSearch], rows: Rows
    ) -> None:
        collection = opened[0]
        fewer = {name: dtype for name, dtype in collection.columns.items() if name != "price"}
        other = replace(collection, rows=collection.rows - 500, columns=fewer)
        assert not engine.is_complete(other)
        with pytest.raises(EngineError, match="drop it and run the load step again"):
            engine.build(other, Rows(other.rows).batches, no_progress)
        assert engine.is_complete(collection)
        assert engine.count(collection) == collection.rows

    def test_incomplete_collection_of_another_shape_is_replaced(self, engine: Engine) -> None:
        few = Rows(600)
        collection = few.collection(f"{NAME_PREFIX}{uuid.uuid4().hex[:16]}")
        other = replace(collection, columns={"price": SCHEMA["price"]})
        try:
            engine.create(collection)
            engine.write(collection, RowBatch(0, few.vectors[:200], few.table.slice(0, 200)))
            engine.build(other, few.batches, no_progress)
            assert engine.is_complete(other)
            assert engine.count(other) == 600
        finally:
            engine.drop(collection.name)

    def test_check_refuses_other_vectors(
        self, engine: Engine, opened: tuple[Collection, CollectionSearch], rows: Rows
    ) -> None:
        sample = np.arange(0, len(rows.vectors), 50)
        vectors = rows.vectors[sample].astype(np.float32)
        check_sample(engine, opened[0], sample, vectors, rows.columns)
        with pytest.raises(EngineError, match="other vectors"):
            check_sample(engine, opened[0], sample, vectors[::-1], rows.columns)

    def test_check_refuses_columns_of_other_rows_and_columns_without_values(self, engine: Engine) -> None:
        few = Rows(300)
        sample = np.arange(0, 300, 7)
        for wrong, problem in (
            (few.table.take(np.roll(np.arange(300), 1)), "rows of others"),
            (_empty(few), "no rows"),
        ):
            loaded_rows = Rows(300)
            loaded_rows.table = wrong
            with loaded(engine, loaded_rows) as (collection, _):
                check_sample(engine, collection, sample, few.vectors[sample].astype(np.float32), loaded_rows.columns)
                with pytest.raises(EngineError, match=f"{problem} where category is"):
                    check_sample(engine, collection, sample, few.vectors[sample].astype(np.float32), few.columns)

    def test_names_lists_collections_and_drop_removes_them(self, engine: Engine) -> None:
        few = Rows(20)
        name = f"{NAME_PREFIX}{uuid.uuid4().hex[:16]}"
        with loaded(engine, few, name) as (collection, _):
            assert name in engine.names()
            assert engine.is_complete(collection)
        assert name not in engine.names()
        assert not engine.is_complete(collection)
        engine.drop(name)  # nothing happens

    def test_complete_collection_is_ready(self, engine: Engine, opened: tuple[Collection, CollectionSearch]) -> None:
        engine.ping_collection(opened[0], 30)

    def test_opening_a_collection_that_is_not_there_is_an_error(self, engine: Engine) -> None:
        with pytest.raises(EngineError):
            engine.open(Rows(20).collection(f"{NAME_PREFIX}missing"))
