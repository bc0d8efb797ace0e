"""Loading a candidate's segments into an engine."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from psycopg import sql

from artifacts.engines import collection as collections
from artifacts.engines.pgvector.engine import PgvectorEngine
from artifacts.errors import EngineError
from artifacts.segments.info import read_info
from artifacts.settings import Settings
from jobs.candidate import load_candidate
from jobs.load.step import run_load, uses_engine
from jobs.steps import StepContext
from tests.pgvector_server import PgvectorServer
from tests.pipeline import prepared, run_index, small_settings, write_small_catalog

pytestmark = pytest.mark.pgvector


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_catalog(tmp_path_factory.mktemp("shop"), products=150)


@pytest.fixture
def context(catalog: Path, settings_in: Callable[..., Settings], tmp_path: Path) -> StepContext:
    """With a candidate that is not loaded."""
    context = prepared(catalog, settings_in(tmp_path))
    run_index(context)
    return context


def table_of(context: StepContext) -> str:
    (segment,) = load_candidate(context.workspace).segments
    engine = read_info(context.store.segment_path(segment.id)).engine
    assert engine is not None
    return engine.name


def delete(server: PgvectorServer, table: str, first: int, last: int) -> None:
    with server.connect() as connection:
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE id BETWEEN %s AND %s").format(sql.Identifier(table)), (first, last)
        )


def test_candidate_of_files_has_nothing_to_load(catalog: Path, tmp_path: Path) -> None:
    context = prepared(catalog, small_settings(tmp_path))
    run_index(context)
    assert not uses_engine(context)
    result = run_load(context)
    assert (result.changed, result.note) == (False, "the index is in files")


def test_rows_are_loaded_once(context: StepContext) -> None:
    assert uses_engine(context)
    first, second = run_load(context), run_load(context)
    assert (first.changed, first.note) == (True, "150 rows in pgvector")
    assert (second.changed, second.note) == (False, "150 rows in pgvector, as before")


def test_load_that_was_refused_for_missing_rows_is_refused_again(
    context: StepContext, server: PgvectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = PgvectorEngine.complete

    def complete_fewer(engine: PgvectorEngine, collection: collections.Collection) -> None:
        delete(server, collection.name, 50, 52)  # between the rows of the sample
        complete(engine, collection)

    monkeypatch.setattr(PgvectorEngine, "complete", complete_fewer)
    for _ in range(2):
        with pytest.raises(EngineError, match="has 147 rows, its segment 150; drop"):
            run_load(context)
    monkeypatch.undo()
    assert run_load(context).changed  # the last batches are written again


def test_load_that_left_a_gap_is_refused_until_the_collection_is_dropped(
    context: StepContext, server: PgvectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifacts.engines.base.BATCH_ROWS", 10)
    monkeypatch.setattr(collections, "BATCH_ROWS", 10)
    complete = PgvectorEngine.complete
    monkeypatch.setattr(PgvectorEngine, "complete", lambda engine, collection: pytest.fail("stop"))
    with pytest.raises(pytest.fail.Exception):
        run_load(context)
    monkeypatch.setattr(PgvectorEngine, "complete", complete)
    delete(server, table_of(context), 40, 49)  # a batch in the middle
    for _ in range(2):
        with pytest.raises(EngineError, match="has 140 rows, its segment 150; drop"):
            run_load(context)
    with server.connect() as connection:
        connection.execute(f"DROP TABLE {table_of(context)}".encode())
    assert run_load(context).note == "150 rows in pgvector"


def test_loads_of_one_candidate_at_once_end_with_one_collection(context: StepContext, server: PgvectorServer) -> None:
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(run_load, [context] * 3))
    assert any(result.changed for result in results)
    with server.connect() as connection:
        counted = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table_of(context))))
        assert counted.fetchone() == (150,)
    assert not run_load(context).changed
