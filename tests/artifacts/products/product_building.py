"""Product rows for the tests of artifacts/products."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.products.database import DUCKDB_FILE, ProductDatabase
from artifacts.products.table import ARROW_FILE, ProductTable
from artifacts.products.writer import ArrowWriter, numbered_rows, write_database
from artifacts.schema import TIMESTAMP
from tests.artifacts.building import product_table

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

#: A column of each type, with few enough values that conditions meet them, among them the edges of the type.
ATTRIBUTES = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "yes": pa.bool_(), "when": TIMESTAMP}
POOLS: dict[str, list[Any]] = {
    "text": ["", " ", "red", "Red", "grün", "' OR 1=1 --", 'a"b', "%", "_", "NULL", "true", "1", "\U0001f600", "a\nb"],
    "whole": [0, 1, -1, 7, 2**53 + 1, 2**63 - 1, -(2**63)],
    "number": [0.0, -0.0, 0.1, 1.0, -1.5, 1e300, 5e-324, float("inf"), float("-inf")],
    "yes": [True, False],
    "when": [
        EPOCH,
        EPOCH + timedelta(microseconds=1),
        EPOCH - timedelta(days=99_999),
        datetime(9999, 12, 31, tzinfo=UTC),
    ],
}
RNG = np.random.default_rng(0)
ROWS = 300
COLUMNS = {
    name: [None if RNG.random() < 0.2 else pool[RNG.integers(len(pool))] for _ in range(ROWS)]
    for name, pool in POOLS.items()
}


def open_products(folder: Path, table: pa.Table) -> tuple[ProductTable, ProductDatabase]:
    """Write product rows and open both files."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = ArrowWriter(folder / ARROW_FILE, table.schema)
    writer.add(table)
    writer.close()
    write_database(folder / DUCKDB_FILE, table.schema, [numbered_rows(folder / ARROW_FILE)])
    return ProductTable(folder / ARROW_FILE), ProductDatabase(folder, table.schema)


def every_type_table() -> pa.Table:
    """Products p0, p1, … with the values of COLUMNS."""
    return product_table([f"p{row}" for row in range(ROWS)], attributes=ATTRIBUTES, **COLUMNS)


def catalog_table() -> pa.Table:
    """2,000 products in random order; product n has n % 3 + 1 pictures, and its values derive from n."""
    rng = np.random.default_rng(1)
    ids = [f"p{number}" for number in rng.permutation(2000) for _ in range(number % 3 + 1)]
    numbers = [int(product_id[1:]) for product_id in ids]
    return product_table(
        ids,
        pictures=[index - ids.index(product_id) for index, product_id in enumerate(ids)],
        attributes={"size": pa.int64(), 'Ünï "x"': pa.string()},
        price=[number / 10 for number in numbers],
        category=[f"c{number % 7}" if number % 11 else None for number in numbers],
        title=[f"title {number}" for number in numbers],
        size=numbers,
        **{'Ünï "x"': ["a" if number % 2 else "b" for number in numbers]},
    )
