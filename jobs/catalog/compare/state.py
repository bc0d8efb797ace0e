"""The state of the served release: what the catalog said of each product when the release was made."""

from __future__ import annotations

# ruff: noqa: S608 — the SQL is built from constants and quote_literal(), never from a catalog's values.
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import duckdb

from artifacts.schema import OK, STATE
from jobs.catalog.staging import parquet_file_sql, quote_literal, run_sql

_COLUMNS = "product_id, first, status, attributes, pictures, updated_at"


@dataclass(frozen=True)
class StateFiles:
    """The state of a release, as files on this machine with the schema STATE.

    Attributes:
        base: of the base.
        delta: of the delta, if there is one; it replaces the base's rows of every product that it names.
    """

    base: Path
    delta: Path | None = None


def create_state_views(con: duckdb.DuckDBPyConnection, files: StateFiles | None, retry: Collection[str]) -> None:
    """Create the views `state_rows` (one row per picture) and `state` (one row per product; adds `again`, boolean).

    Args:
        con: the database.
        files: None if nothing is served; the views are then empty.
        retry: statuses; `again` is true for a product that has a picture with one of them.
    """
    if files is None:
        con.register("no_state", STATE.empty_table())
        rows = f"SELECT {_COLUMNS} FROM no_state"
    elif files.delta is None:
        rows = f"SELECT {_COLUMNS} FROM {parquet_file_sql(files.base)}"
    else:
        base, delta = map(parquet_file_sql, (files.base, files.delta))
        rows = f"""SELECT {_COLUMNS} FROM {delta} UNION ALL
            SELECT {_COLUMNS} FROM {base} ANTI JOIN (SELECT product_id FROM {delta}) USING (product_id)"""
    run_sql(con, f"CREATE VIEW state_rows AS {rows}")
    again = "false"
    if retry:
        statuses = ", ".join(map(quote_literal, sorted(retry)))
        again = f"product_id IN (SELECT product_id FROM state_rows WHERE status IN ({statuses}))"
    run_sql(con, f"CREATE VIEW state AS SELECT * EXCLUDE (first), {again} AS again FROM state_rows WHERE first")


def served_products(products: str) -> str:
    """Select the ids in a table `products` that have an indexed picture.

    Args:
        products: name of a table with the column product_id, of few rows.
    """
    return f"(SELECT product_id FROM state_rows SEMI JOIN {products} USING (product_id) WHERE status = '{OK}')"
