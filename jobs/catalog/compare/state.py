"""The state of the served release: what the catalog said of each product when the release was made."""

from __future__ import annotations

# ruff: noqa: S608 — the SQL is built from constants and text_literal(), never from a catalog's values.
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import duckdb

from artifacts.products.sql import text_literal
from artifacts.schema import OK, STATE
from jobs.catalog.staging import parquet_file_sql, run_sql

_COLUMNS = ", ".join(STATE.names)


@dataclass(frozen=True)
class StateFiles:
    """The state of a release, as files on this machine with the schema STATE.

    Attributes:
        base: of the base.
        delta: of the delta, if there is one; it replaces the base's rows of every product that it names.
    """

    base: Path
    delta: Path | None = None


def create_row_views(con: duckdb.DuckDBPyConnection, files: StateFiles | None) -> None:
    """Create the views `base_rows`, `delta_rows` and `state_rows`, all with the columns of STATE.

    `state_rows` has the rows of the release: those of the delta, and those of the base whose product the delta does not
    name.

    Args:
        con: the database.
        files: None if nothing is served; the views are then empty.
    """
    con.register("no_state", STATE.empty_table())
    base, delta = (files.base, files.delta) if files is not None else (None, None)
    for view, path in (("base_rows", base), ("delta_rows", delta)):
        rows = "no_state" if path is None else parquet_file_sql(path)
        run_sql(con, f"CREATE VIEW {view} AS SELECT {_COLUMNS} FROM {rows}")
    run_sql(
        con,
        """CREATE VIEW state_rows AS FROM delta_rows UNION ALL
            (FROM base_rows ANTI JOIN (SELECT product_id FROM delta_rows) USING (product_id))""",
    )


def create_state_views(con: duckdb.DuckDBPyConnection, files: StateFiles | None, retry: Collection[str]) -> None:
    """Create the views of `create_row_views`, and `state` (one row per product; adds `again`, boolean).

    Args:
        con: the database.
        files: None if nothing is served; the views are then empty.
        retry: statuses; `again` is true for a product that has a picture with one of them.
    """
    create_row_views(con, files)
    again = "false"
    if retry:
        statuses = ", ".join(map(text_literal, sorted(retry)))
        again = f"product_id IN (SELECT product_id FROM state_rows WHERE status IN ({statuses}))"
    run_sql(con, f"CREATE VIEW state AS SELECT * EXCLUDE (first), {again} AS again FROM state_rows WHERE first")


def served_products(products: str) -> str:
    """Select the ids in a table `products` that have an indexed picture.

    Args:
        products: name of a table with the column product_id, of few rows.
    """
    return f"(SELECT product_id FROM state_rows SEMI JOIN {products} USING (product_id) WHERE status = '{OK}')"
