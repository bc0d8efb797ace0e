"""Rows, filters and results as Pinecone has them, within its limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson

from artifacts.engines.base import Found
from artifacts.engines.collection import Collection, RowBatch
from artifacts.engines.payloads import is_exact, payload_value, payloads_of
from artifacts.errors import EngineError
from artifacts.products.filters import Condition, Filter

#: Limits of Pinecone: records and bytes of a request, bytes of a record's metadata. Its MB and KB are taken as the
#: smaller ones, and of a request's some bytes are left for what surrounds the records.
_RECORDS, _BYTES, _METADATA = 1_000, 1_990_000, 40_000


def rows_in(stats: Any, name: str) -> int:
    summary = stats.namespaces.get(name)
    return 0 if summary is None else summary.vector_count


def records_of(collection: Collection, batch: RowBatch) -> Iterator[dict[str, Any]]:
    vectors = np.round(batch.vectors.astype(np.float64), 8)  # exact for float16, and half as long in JSON
    payloads = payloads_of(collection, batch.columns)
    for row, vector, payload in zip(batch.rows.tolist(), vectors.tolist(), payloads, strict=True):
        size = len(orjson.dumps(payload))
        if size > _METADATA:
            raise EngineError(
                f"row {row} of {collection.name}: its columns are {size:,} bytes, and Pinecone takes {_METADATA:,}; "
                "shorten its longest text in the catalog"
            )
        yield {"id": str(row), "values": vector, "metadata": payload}


def requests_of(records: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    request: list[dict[str, Any]] = []
    size = 0
    for record in records:
        length = len(orjson.dumps(record)) + 1
        if request and (len(request) == _RECORDS or size + length > _BYTES):
            yield request
            request, size = [], 0
        request.append(record)
        size += length
    if request:
        yield request


def filter_of(collection: Collection, conditions: Filter) -> dict[str, Any] | None:
    parts = [part for condition in conditions for part in _parts(collection.field(condition.column), condition)]
    return {"$and": parts} if parts else None


def _parts(field: str, condition: Condition) -> Iterator[dict[str, Any]]:
    any_of = [payload_value(value) for value in condition.any_of]
    none_of = [payload_value(value) for value in condition.none_of]
    # Numbers are float64 in Pinecone: what would be rounded is left to the check of every row.
    if any_of and all(map(is_exact, any_of)):
        yield {field: {"$in": any_of}}
    excluded = [value for value in none_of if is_exact(value)]
    if excluded:
        yield {"$or": [{field: {"$exists": False}}, {field: {"$nin": excluded}}]}
    for operator, bound in (("$gte", condition.minimum), ("$lte", condition.maximum), ("$lt", condition.below)):
        if bound is not None and is_exact(limit := payload_value(bound)):
            yield {field: {operator: limit}}
    if condition.missing is not None:
        yield {field: {"$exists": not condition.missing}}


def found_of(matches: list[Any]) -> Found:
    rows = np.array([int(match.id) for match in matches], np.int64)
    return Found(rows, np.array([match.score for match in matches], np.float32))
