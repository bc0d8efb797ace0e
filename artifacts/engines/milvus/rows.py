"""The fields of a collection, and the rows that are written to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from pymilvus import CollectionSchema, DataType, MilvusClient

from artifacts.engines.collection import Collection, RowBatch
from artifacts.engines.milvus.expressions import MAX_COLUMNS, missing_field
from artifacts.products.columns import BOOLEAN, INTEGER, NUMBER, TEXT, TIME, ColumnType, type_of_column

#: Bytes of a text that are stored; Milvus plans its segments by the declared length. Longer texts are cut, so searches
#: that filter on such a value find fewer rows.
_TEXT_BYTES = 1_024

#: Bytes of a request. Milvus takes 64 MB.
_REQUEST_BYTES = 16_000_000

#: The field type of each type of column, and what a row without a value has.
_FIELDS: dict[ColumnType, tuple[DataType, Any]] = {
    TEXT: (DataType.VARCHAR, ""),
    NUMBER: (DataType.DOUBLE, 0.0),
    INTEGER: (DataType.INT64, 0),
    BOOLEAN: (DataType.BOOL, False),
    TIME: (DataType.INT64, datetime(1970, 1, 1, tzinfo=UTC)),
}


def collection_schema(collection: Collection, vector_type: DataType) -> CollectionSchema:
    """Return the schema of a collection."""
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", vector_type, dim=collection.dim)
    for column in list(collection.columns)[:MAX_COLUMNS]:
        name = collection.field(column)
        field_type, _ = _FIELDS[type_of_column(collection.columns[column])]
        lengths = {"max_length": _TEXT_BYTES} if field_type == DataType.VARCHAR else {}
        schema.add_field(name, field_type, **lengths)
        schema.add_field(missing_field(name), DataType.BOOL)
    return schema


def has_shape(described: dict[str, Any], collection: Collection, vector_type: DataType) -> bool:
    """Return whether Milvus describes a collection with this shape and type of vectors."""
    there = {field["name"]: (field["type"], field["params"].get("dim")) for field in described["fields"]}
    fields = collection_schema(collection, vector_type).fields
    return there == {field.name: (field.dtype, field.params.get("dim")) for field in fields}


def requests(collection: Collection, batch: RowBatch, vector_type: DataType) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a batch as the client takes them, in lists that fit into a request."""
    numbers = np.float16 if vector_type == DataType.FLOAT16_VECTOR else np.float32
    fields: dict[str, Any] = {"id": batch.rows.tolist(), "vector": list(batch.vectors.astype(numbers))}
    for column in list(collection.columns)[:MAX_COLUMNS]:
        name = collection.field(column)
        values = batch.columns[column]
        fields[missing_field(name)] = values.is_null().to_pylist()
        fields[name] = _values(values, type_of_column(collection.columns[column]))
    rows = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
    size = batch.vectors.size * np.dtype(numbers).itemsize + batch.columns.nbytes
    share = max(1, len(rows) * _REQUEST_BYTES // max(size, 1))
    for first in range(0, len(rows), share):
        yield rows[first : first + share]


def _values(column: pa.ChunkedArray, column_type: ColumnType) -> list[Any]:
    if column_type == TEXT:
        texts = column.cast(pa.string()).fill_null("").to_pylist()
        return [_cut(text) if len(text) > _TEXT_BYTES // 4 else text for text in texts]
    filled = column.fill_null(_FIELDS[column_type][1])
    return (filled.cast(pa.int64()) if column_type == TIME else filled).to_pylist()


def _cut(text: str) -> str:
    return text.encode()[:_TEXT_BYTES].decode(errors="ignore")
