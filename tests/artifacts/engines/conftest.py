"""Rows, filters and the contract that all engines are tested with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from artifacts.engines.collection import BATCH_ROWS, Batches, Collection, RowBatch
from artifacts.products.filters import Condition
from artifacts.schema import TIMESTAMP

DIM = 16
START = datetime(2026, 1, 1, tzinfo=UTC)

#: Texts that a careless translation of filters breaks on.
TEXTS = [
    "shoes",
    "o'clock",
    'a "quote"',
    "back\\slash",
    "line\nbreak",
    '" or 1==1 --',
    "Größe/サイズ",
    "%_*",
    "nul\x00",
    "",
    "Shoes",
]

SCHEMA = {
    "category": pa.string(),
    "price": pa.float64(),
    "size (cm)": pa.int64(),
    "in stock": pa.bool_(),
    "added_at": TIMESTAMP,
}


def table(rows: int) -> pa.Table:
    """Rows in which each text, number and time occurs, and each column has nulls in other rows."""
    return pa.table(
        {
            "category": pa.array([None if row % 17 == 16 else TEXTS[row % len(TEXTS)] for row in range(rows)]),
            "price": pa.array([None if row % 7 == 6 else (row % 40) * 0.25 for row in range(rows)], pa.float64()),
            "size (cm)": pa.array([None if row % 5 == 4 else row % 30 - 10 for row in range(rows)], pa.int64()),
            "in stock": pa.array([None if row % 13 == 12 else row % 3 == 0 for row in range(rows)], pa.bool_()),
            "added_at": pa.array(
                [None if row % 9 == 8 else START + timedelta(hours=row % 50) for row in range(rows)], TIMESTAMP
            ),
        }
    )


def unit_vectors(rows: int, seed: int = 0) -> np.ndarray:
    """float16[rows, DIM], L2-normalised."""
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


class Rows:
    """A segment's rows, and what a search over them has to find."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.vectors, self.table = unit_vectors(count, seed), table(count)
        self.first_rows_read: list[int] = []

    def collection(self, name: str) -> Collection:
        return Collection(name, len(self.vectors), DIM, SCHEMA)

    def columns(self, rows: np.ndarray) -> pa.Table:
        return self.table.take(pa.array(rows))

    @property
    def batches(self) -> Batches:
        def read(first_row: int) -> Iterator[RowBatch]:
            self.first_rows_read.append(first_row)
            for first in range(first_row, len(self.vectors), BATCH_ROWS):
                vectors = self.vectors[first : first + BATCH_ROWS]
                yield RowBatch(first, vectors, self.table.slice(first, len(vectors)))

        return read

    def queries(self, count: int) -> np.ndarray:
        """float32[count, DIM], L2-normalised, near none of the rows."""
        return unit_vectors(count, seed=99).astype(np.float32)

    def passing(self, conditions: tuple[Condition, ...]) -> np.ndarray:
        """Row numbers that pass a filter, evaluated row by row in Python."""
        values = self.table.to_pylist()
        return np.array([row for row, value in enumerate(values) if all(_passes(value, each) for each in conditions)])

    def best(self, query: np.ndarray, k: int, conditions: tuple[Condition, ...] = ()) -> np.ndarray:
        """The best `k` rows that pass, by exact score."""
        rows = self.passing(conditions)
        if not len(rows):
            return np.empty(0, np.int64)
        scores = self.vectors[rows].astype(np.float32) @ query
        return rows[np.argsort(-scores, kind="stable")[:k]]


def _passes(values: dict[str, object], condition: Condition) -> bool:
    value = values[condition.column]
    if condition.missing is not None and condition.missing != (value is None):
        return False
    if value is None:
        return not condition.needs_value
    return (
        (not condition.any_of or value in condition.any_of)
        and value not in condition.none_of
        and (condition.minimum is None or value >= condition.minimum)  # type: ignore[operator]
        and (condition.maximum is None or value <= condition.maximum)  # type: ignore[operator]
        and (condition.below is None or value < condition.below)  # type: ignore[operator]
    )


def _at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


#: Filters by name: every kind of condition on every type of column, alone and together.
FILTERS: dict[str, tuple[Condition, ...]] = {
    **{f"text {text!r}": (Condition("category", any_of=(text,)),) for text in TEXTS[:9]},
    "empty text": (Condition("category", any_of=("",)),),
    "several texts": (Condition("category", any_of=tuple(TEXTS[:3])),),
    "not a text": (Condition("category", none_of=("shoes", "o'clock")),),
    "text without a value": (Condition("category", missing=True),),
    "text with a value": (Condition("category", missing=False),),
    "range of texts": (Condition("category", minimum="a", maximum="m"),),
    "text below": (Condition("category", below="b"),),
    "price between": (Condition("price", minimum=1.0, maximum=2.5),),
    "price below": (Condition("price", below=0.25),),
    "not a price": (Condition("price", none_of=(0.0, 0.25)),),
    "integers": (Condition("size (cm)", any_of=(-10, 3)),),
    "range of integers": (Condition("size (cm)", minimum=-3, maximum=0),),
    "true": (Condition("in stock", any_of=(True,)),),
    "not true": (Condition("in stock", none_of=(True,)),),
    "times": (Condition("added_at", minimum=_at(3), below=_at(9)),),
    "without a time": (Condition("added_at", missing=True),),
    "together": (
        Condition("category", none_of=("shoes",)),
        Condition("price", minimum=0.0, maximum=8.0),
        Condition("in stock", any_of=(False,)),
    ),
}


@pytest.fixture(scope="session")
def rows() -> Rows:
    """More than one batch."""
    return Rows(BATCH_ROWS + 500)
