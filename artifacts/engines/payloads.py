"""The columns of rows as JSON, for engines that store documents beside vectors: Qdrant and Pinecone. The values of
filters are those of Milvus, too.

Booleans are 0 and 1 and times are microseconds since 1970, so that an engine has to know texts and numbers only. Null
values are absent.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from artifacts.engines.collection import Collection
from artifacts.products.columns import BOOLEAN, TIME, type_of_column
from artifacts.products.filters import Value

#: Below this, a float64 has every integer.
EXACT = 2**53

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def payloads_of(collection: Collection, table: pa.Table) -> list[dict[str, str | int | float]]:
    """Return the values of each row by `Collection.field`."""
    payloads: list[dict[str, str | int | float]] = [{} for _ in range(len(table))]
    for column, dtype in collection.columns.items():
        is_integer = type_of_column(dtype) in (BOOLEAN, TIME)
        values = table[column].cast(pa.int64()) if is_integer else table[column]
        field = collection.field(column)
        for payload, value in zip(payloads, values.to_pylist(), strict=True):
            if value is not None:
                payload[field] = value
    return payloads


def payload_value(value: Value) -> Any:
    """Return a filter's value as payloads have it. Infinity is the largest number, since JSON has no other."""
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return min(max(value, -sys.float_info.max), sys.float_info.max)
    return value


def is_exact(value: str | int | float) -> bool:
    """Return whether an engine that keeps numbers as float64 compares this value as it should."""
    return not isinstance(value, int) or abs(value) < EXACT
