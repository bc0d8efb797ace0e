"""Options, indexes, filters and results as Qdrant has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from qdrant_client import models

from artifacts.engines.base import Found
from artifacts.engines.collection import Collection
from artifacts.engines.payloads import is_exact, payload_value
from artifacts.errors import EngineError
from artifacts.products.columns import BOOLEAN, INTEGER, NUMBER, TEXT, TIME, ColumnType, type_of_column
from artifacts.products.filters import Condition, Filter, Value

_INDEXES: dict[ColumnType, models.PayloadSchemaType] = {
    TEXT: models.PayloadSchemaType.KEYWORD,
    NUMBER: models.PayloadSchemaType.FLOAT,
    INTEGER: models.PayloadSchemaType.INTEGER,
    BOOLEAN: models.PayloadSchemaType.INTEGER,  # 0 and 1, so that MatchAny takes them
    TIME: models.PayloadSchemaType.INTEGER,  # microseconds since 1970
}


class QdrantOptions(BaseModel):
    """How a collection is built and searched; docs/engines/qdrant.md describes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    m: int = Field(default=16, ge=4, le=256)
    ef_construct: int = Field(default=128, ge=4, le=10_000)
    full_scan_threshold: int = Field(default=10_000, ge=10)
    indexing_threshold: int = Field(default=10_000, ge=1)
    on_disk: int = Field(default=0, ge=0, le=1)
    quantization: Literal["none", "scalar", "binary"] = "none"
    oversampling: float = Field(default=2.0, ge=1, le=100)
    shard_number: int = Field(default=1, ge=1)
    replication_factor: int = Field(default=1, ge=1)


def options_of(options: Mapping[str, int | float | str]) -> QdrantOptions:
    """Return the options of a collection.

    Raises:
        EngineError: one is unknown or out of range.
    """
    try:
        return QdrantOptions.model_validate(dict(options))
    except ValidationError as error:
        wrong = error.errors()[0]
        name = ".".join(map(str, wrong["loc"]))
        known = ", ".join(QdrantOptions.model_fields)
        raise EngineError(f"engine_options of qdrant: {name}: {wrong['msg']}; the options are {known}") from error


def shape_of(collection: Collection) -> str:
    """Return what the metadata in Qdrant say of a collection: its rows, dimension and columns."""
    columns = [str(dtype) for dtype in collection.columns.values()]
    return json.dumps({"rows": collection.rows, "dim": collection.dim, "columns": columns})


def has_shape(metadata: Mapping[str, Any], collection: Collection) -> bool:
    """Return whether metadata are those of such a collection."""
    return json.loads(metadata.get("shape", "{}")).items() >= json.loads(shape_of(collection)).items()


def quantization_of(options: QdrantOptions) -> models.QuantizationConfig | None:
    """Return the form in which vectors are searched; they are scored again in float16."""
    if options.quantization == "scalar":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if options.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None


def index_of(dtype: pa.DataType) -> models.PayloadSchemaType:
    """Return the index of a column."""
    return _INDEXES[type_of_column(dtype)]


# ── filters and results ──────────────────────────────────────────────────────────────────────────────────────────────


def found_of(points: list[models.ScoredPoint]) -> Found:
    """Return the rows and scores of a search's result."""
    rows = np.array([point.id for point in points], np.int64)
    return Found(rows, np.array([point.score for point in points], np.float32))


def filter_of(collection: Collection, conditions: Filter) -> models.Filter | None:
    """Return a filter; rows that pass the conditions pass it, too."""
    must: list[models.Condition] = []
    must_not: list[models.Condition] = []
    for condition in conditions:
        key, dtype = collection.field(condition.column), type_of_column(collection.columns[condition.column])
        if condition.any_of:
            must.append(_one_of(key, dtype, condition.any_of))
        if condition.none_of:
            must_not.append(_one_of(key, dtype, condition.none_of))  # rows without a value pass
        if (limits := _range(condition)) is not None:
            must.append(models.FieldCondition(key=key, range=limits))
        if condition.missing is not None:
            empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
            (must if condition.missing else must_not).append(empty)
    return models.Filter(must=must or None, must_not=must_not or None) if must or must_not else None


def _one_of(key: str, dtype: ColumnType, values: tuple[Value, ...]) -> models.Condition:
    numbers = [payload_value(value) for value in values]
    if dtype == NUMBER:  # Qdrant matches texts and integers only
        ranges = [models.Range(gte=number, lte=number) for number in numbers]
        return models.Filter(should=[models.FieldCondition(key=key, range=each) for each in ranges])
    return models.FieldCondition(key=key, match=models.MatchAny(any=numbers))


def _range(condition: Condition) -> models.Range | None:
    bounds = {"gte": condition.minimum, "lte": condition.maximum, "lt": condition.below}
    limits = {name: payload_value(bound) for name, bound in bounds.items() if bound is not None}
    exact = {name: limit for name, limit in limits.items() if is_exact(limit)}  # Qdrant's bounds are float64
    return models.Range(**exact) if exact else None
