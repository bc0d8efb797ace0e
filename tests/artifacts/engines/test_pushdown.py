from __future__ import annotations

import pyarrow as pa

from artifacts.engines.base import ALL_CONDITIONS
from artifacts.engines.pushdown import pushed_down
from artifacts.products.filters import Condition

COLUMNS = {"brand": pa.string(), "price": pa.float64(), "size": pa.int64()}


def test_all_conditions_are_pushed_down_to_an_engine_that_knows_all() -> None:
    conditions = (Condition("brand", any_of=("a",), none_of=("b",)), Condition("price", minimum=1.0, missing=False))
    assert pushed_down(conditions, COLUMNS, ALL_CONDITIONS) == conditions


def test_parts_that_an_engine_does_not_know_are_left_out() -> None:
    conditions = (Condition("brand", any_of=("a",), minimum="a"), Condition("price", minimum=1.0))
    known = ALL_CONDITIONS - {"text_range"}
    assert pushed_down(conditions, COLUMNS, known) == (
        Condition("brand", any_of=("a",)),
        Condition("price", minimum=1.0),
    )
    assert pushed_down((Condition("brand", below="c"),), COLUMNS, known) == ()


def test_conditions_on_other_columns_and_of_other_types_are_left_out() -> None:
    assert pushed_down((Condition("colour", any_of=("red",)),), COLUMNS, ALL_CONDITIONS) == ()
    assert pushed_down((Condition("size", any_of=("XL",)),), COLUMNS, ALL_CONDITIONS) == ()
    assert pushed_down((Condition("size", missing=True),), COLUMNS, ALL_CONDITIONS) == (
        Condition("size", missing=True),
    )
