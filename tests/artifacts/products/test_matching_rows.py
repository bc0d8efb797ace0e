"""Filters in SQL: they pass the rows that plain Python passes, and no value becomes SQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.products.columns import filterable_columns
from artifacts.products.database import ProductDatabase
from artifacts.products.filters import Condition, Filter, parse_condition
from artifacts.products.sql import where
from tests.artifacts.building import product_table
from tests.artifacts.products.product_building import COLUMNS, POOLS, ROWS, every_type_table, open_products

FILTERABLE = filterable_columns(every_type_table().schema)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductDatabase]:
    """The product rows of `every_type_table`."""
    table, database = open_products(tmp_path_factory.mktemp("products"), every_type_table())
    yield database
    table.close()
    database.close()


def meets(value: Any, condition: Condition) -> bool:
    """What a condition means, in plain Python."""
    if condition.any_of and (value is None or value not in condition.any_of):
        return False
    if condition.none_of and value is not None and value in condition.none_of:
        return False
    if condition.minimum is not None and (value is None or value < condition.minimum):
        return False
    if condition.maximum is not None and (value is None or value > condition.maximum):
        return False
    if condition.below is not None and (value is None or value >= condition.below):
        return False
    return condition.missing is None or condition.missing == (value is None)


def passing_rows(conditions: Filter) -> list[int]:
    return [
        row for row in range(ROWS) if all(meets(COLUMNS[condition.column][row], condition) for condition in conditions)
    ]


@st.composite
def any_condition(draw: st.DrawFn) -> Condition:
    column = draw(st.sampled_from(sorted(POOLS)))
    value = st.sampled_from(POOLS[column])
    values = st.lists(value, max_size=4).map(tuple)
    bounds = [draw(st.none() | value) for _ in range(3)]
    return Condition(
        column, draw(values), draw(values), *bounds, missing=draw(st.sampled_from([None, None, True, False]))
    )


@given(conditions=st.lists(any_condition(), max_size=4).map(tuple))
@settings(max_examples=200, deadline=None)
def test_sql_passes_the_rows_that_python_passes(database: ProductDatabase, conditions: Filter):
    rows = database.matching_rows(conditions)
    assert rows.dtype == np.int64
    assert rows.tolist() == passing_rows(conditions)


def test_a_missing_value_meets_only_a_negation(database: ProductDatabase):
    missing = {row for row, value in enumerate(COLUMNS["text"]) if value is None}
    assert missing
    values = tuple(POOLS["text"])
    assert not missing & set(database.matching_rows((Condition("text", any_of=values),)))
    assert set(database.matching_rows((Condition("text", none_of=values),))) == missing
    assert not missing & set(database.matching_rows((Condition("text", minimum=""),)))


def test_the_empty_filter_passes_every_row(database: ProductDatabase):
    assert database.matching_rows(()).tolist() == list(range(ROWS))
    assert database.matching_rows((Condition("text"),)).tolist() == list(range(ROWS))


def test_missing_values_can_be_required_and_excluded(database: ProductDatabase):
    missing = {row for row, value in enumerate(COLUMNS["when"]) if value is None}
    assert set(database.matching_rows((Condition("when", missing=True),))) == missing
    assert set(database.matching_rows((Condition("when", missing=False),))) == set(range(ROWS)) - missing


@pytest.mark.parametrize(
    "text",
    [
        "' OR '1'='1",
        "'; DROP TABLE products; --",
        "x'); COPY products TO '/tmp/out.csv'; --",
        '" OR 1=1 --',
        "?",
        "$1",
        "{0}",
        "red' UNION SELECT row FROM products --",
    ],
)
def test_values_never_become_sql(database: ProductDatabase, text: str):
    for values in (lambda value: {"any_of": [value]}, lambda value: {"minimum": value, "maximum": value}):
        hostile, harmless = (parse_condition(FILTERABLE, "filter", "text", **values(value)) for value in (text, "blue"))
        assert where((hostile,))[0] == where((harmless,))[0]
        assert database.matching_rows((hostile,)).tolist() == []
    assert len(database.matching_rows((parse_condition(FILTERABLE, "filter", "text", none_of=[text]),))) == ROWS


def test_a_value_that_is_a_path_reads_no_file(database: ProductDatabase, tmp_path: Path):
    (tmp_path / "x.csv").write_text("row\n1\n")
    condition = parse_condition(FILTERABLE, "filter", "text", any_of=[str(tmp_path / "x.csv")])
    assert database.matching_rows((condition,)).tolist() == []


@pytest.mark.parametrize("offset", [timedelta(hours=23, minutes=59), -timedelta(hours=23, minutes=59)])
@pytest.mark.parametrize("year", [1, 9999])
def test_first_and_last_times_can_be_compared(database: ProductDatabase, year: int, offset: timedelta):
    text = datetime(
        year, *((1, 1) if year == 1 else (12, 31, 23, 59, 59, 999_999)), tzinfo=timezone(offset)
    ).isoformat()
    condition = parse_condition(FILTERABLE, "filter", "when", minimum=text)
    rows = database.matching_rows((condition,)).tolist()
    assert rows == ([row for row, value in enumerate(COLUMNS["when"]) if value] if year == 1 else [])


def test_a_thousand_values_can_be_allowed(database: ProductDatabase):
    condition = parse_condition(FILTERABLE, "filter", "text", any_of=[*map(str, range(1000)), "red"])
    assert database.matching_rows((condition,)).tolist() == passing_rows((Condition("text", any_of=("red", "1")),))


@pytest.mark.parametrize(
    ("stored", "dtype", "value", "rows"),
    [
        (["5", "x", None, "7"], pa.string(), 5, [0]),
        (["5", "x", None, "7.0"], pa.string(), 7.0, [3]),
        ([5, 6, None, 7], pa.int64(), "6", [1]),
        ([5, 6, None, 7], pa.int64(), 7.0, [3]),
        ([5.0, 6.5, None, 7.0], pa.float64(), 7, [3]),
        (["true", "x", None, "false"], pa.string(), False, [3]),
    ],
)
def test_stored_values_are_cast_to_the_type_of_the_condition(
    tmp_path: Path, stored: list[Any], dtype: pa.DataType, value: Any, rows: list[int]
):
    """Of two segments the newer may have another type; conditions have that one."""
    table, database = open_products(tmp_path, product_table(list("abcd"), attributes={"x": dtype}, x=stored))
    assert database.matching_rows((Condition("x", any_of=(value,)),)).tolist() == rows
    assert database.matching_rows((Condition("x", minimum=value, maximum=value),)).tolist() == rows
    assert 2 in database.matching_rows((Condition("x", none_of=(value,)),))
    table.close()
    database.close()
