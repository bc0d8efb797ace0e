"""SQL text of filters and names."""

from __future__ import annotations

import pyarrow as pa

from artifacts.products.filters import Condition
from artifacts.products.sql import quoted, sql_name, where
from artifacts.schema import segment_schema


def test_the_empty_filter_is_true():
    assert where(()) == ("TRUE", [])
    assert where((Condition("text"),)) == ("TRUE", [])


def test_below_excludes_its_bound():
    assert where((Condition("price", below=0.0),)) == ('TRY_CAST("price" AS DOUBLE) < ?::DOUBLE', [0.0])


def test_zero_and_false_are_values():
    assert where((Condition("price", minimum=0.0),))[1] == [0.0]
    assert where((Condition("price", maximum=0),))[1] == [0]
    assert where((Condition("yes", any_of=(False,)),))[1] == [False]


def test_booleans_are_not_compared_as_integers():
    assert where((Condition("yes", minimum=True),))[0] == 'TRY_CAST("yes" AS BOOLEAN) >= ?::BOOLEAN'


def test_names_are_quoted():
    assert quoted('a"b; --') == '"a""b; --"'


def test_attributes_are_named_by_position():
    schema = segment_schema({"Color": pa.string(), "color": pa.string()})
    names = [sql_name(schema, name) for name in ("price", "picture", "Color", "color")]
    assert names[:2] == ["price", "picture"]
    assert names[2:] == [f"attribute_{schema.names.index(name)}" for name in ("Color", "color")]
