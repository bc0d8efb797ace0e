"""Types of the attributes, and the accepted rows with all columns cast to their types.

A typed source (Parquet, a database) declares its attributes' types. The attributes of CSV and JSON get the narrowest
type that holds the values of all accepted rows. A cell's style (`Staging.styles`) says which of the two applies.
"""

from __future__ import annotations

# ruff: noqa: S608 — the SQL is built from constants, numbers and text_literal(), never from a catalog's values.
from collections.abc import Mapping

import pyarrow as pa

from artifacts.products.sql import text_literal
from artifacts.schema import ATTRIBUTES_DIGEST, CATALOG_COLUMNS, CATALOG_RANGES, TIMESTAMP
from jobs.catalog.digests import NOT_DIGESTED, attributes_digest_sql
from jobs.catalog.rules import (
    TIMESTAMP_COLUMNS,
    TRUE_WORDS,
    VALID_YEARS,
    WITHOUT_LEFT_OUT,
    cells_query,
    clean_sql,
    values_query,
)
from jobs.catalog.staging import Staging, run_sql

# Numbers as programs write them: "00123" and "+49" are codes, not numbers.
_INTEGER = text_literal(r"-?(0|[1-9][0-9]*)")
_FLOAT = text_literal(r"-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?")

#: Types that occur in an attribute's cells -> DuckDB and Arrow type of the attribute.
_TYPES: dict[frozenset[str], tuple[str, pa.DataType]] = {
    frozenset({"bool"}): ("BOOLEAN", pa.bool_()),
    frozenset({"int"}): ("BIGINT", pa.int64()),
    frozenset({"float"}): ("DOUBLE", pa.float64()),
    frozenset({"int", "float"}): ("DOUBLE", pa.float64()),
    frozenset({"time"}): ("TIMESTAMPTZ", TIMESTAMP),
}
_TEXT = ("VARCHAR", pa.string())
#: The fewest cell types that give an attribute's type.
_CELL_TYPES = {arrow_type: cells for cells, (_, arrow_type) in _TYPES.items() if len(cells) == 1}


def _value_sql(index: int, style: str) -> str:
    """Clean an attribute's cell that is text; leave it unchanged if the source declares another type."""
    if style in ("text", "VARCHAR"):
        return clean_sql(f"a{index}")
    return clean_sql(f"(a{index}::JSON ->> '$')") if style == "json" else f"a{index}"


def _cell_type_sql(index: int, style: str) -> str:
    """Find the narrowest type of an attribute's cell: 'bool', 'int', 'float' or 'text'; null if the cell is empty."""
    value = _value_sql(index, style)
    numeric = f"""WHEN regexp_full_match({value}, {_INTEGER})
            THEN CASE WHEN TRY_CAST({value} AS BIGINT) IS NULL THEN 'text' ELSE 'int' END
        WHEN regexp_full_match({value}, {_FLOAT}) AND isfinite(TRY_CAST({value} AS DOUBLE)) THEN 'float'"""
    if style == "text":
        return f"""CASE WHEN {value} IS NULL THEN NULL WHEN lower({value}) IN ('true', 'false') THEN 'bool'
            {numeric} ELSE 'text' END"""
    json_type = f"json_type(a{index}::JSON)"
    return f"""CASE WHEN {value} IS NULL THEN NULL WHEN {json_type} = 'BOOLEAN' THEN 'bool'
        WHEN {json_type} IN ('VARCHAR', 'OBJECT', 'ARRAY') THEN 'text' {numeric} ELSE NULL END"""


#: DuckDB and Arrow type of each attribute, by its name.
AttributeTypes = dict[str, tuple[str, pa.DataType]]


def attribute_types(staging: Staging, served: Mapping[str, pa.DataType] | None = None) -> AttributeTypes:
    """Return each attribute's type: the declared one, or the narrowest for all accepted rows.

    Needs the tables of `validate_rows`.

    Args:
        staging: the rows.
        served: attribute -> type in the release that the rows will change. An attribute without a declared type then
            gets the narrowest type that holds its values in both: a few changed rows say less than the whole catalog.
    """
    styles = list(staging.styles.values())
    undeclared = [index for index, style in enumerate(styles) if style in ("text", "json")]
    cell_types: dict[int, frozenset[str]] = {}
    if undeclared:
        lists = ", ".join(f"list(DISTINCT {_cell_type_sql(index, styles[index])})" for index in undeclared)
        (row,) = run_sql(staging.con, f"SELECT {lists} FROM {cells_query(staging)} {WITHOUT_LEFT_OUT}")
        cell_types = {
            index: frozenset(filter(None, distinct or ())) for index, distinct in zip(undeclared, row, strict=True)
        }
    names = list(staging.styles)
    for index in cell_types:
        if served and names[index] in served:
            cell_types[index] |= _CELL_TYPES.get(served[names[index]], frozenset({"text"}))
    declared = {duckdb_type: (duckdb_type, arrow_type) for duckdb_type, arrow_type in _TYPES.values()}
    return {
        name: _TYPES.get(cell_types[index], _TEXT) if index in cell_types else declared.get(styles[index], _TEXT)
        for index, name in enumerate(staging.styles)
    }


def _typed_value_sql(index: int, style: str, duckdb_type: str) -> str:
    """Cast an attribute's cell to its type; null if it cannot be cast."""
    value = _value_sql(index, style)
    if duckdb_type == "DOUBLE":  # NaN and infinity become null: JSON has neither
        cast = f"TRY_CAST({value} AS DOUBLE)"
        return f"CASE WHEN isfinite({cast}) THEN {cast} END"
    if duckdb_type == "TIMESTAMPTZ":
        cast = f"TRY_CAST({value} AS TIMESTAMPTZ)"
        return f"CASE WHEN {cast} {VALID_YEARS} THEN {cast} END"
    return value if duckdb_type == "VARCHAR" else f"TRY_CAST({value} AS {duckdb_type})"


def typed_query(staging: Staging, types: AttributeTypes, only: str | None = None) -> str:
    """Select the accepted rows: _row, the columns of CATALOG_COLUMNS and the attributes a<j>, typed, and their digest.

    Args:
        staging: the rows; the tables of `validate_rows` name those to leave out.
        types: as attribute_types returns them.
        only: as of jobs.catalog.rules.cells_query.
    """
    expressions = {name: name for name in CATALOG_COLUMNS}
    true_words = ", ".join(map(text_literal, TRUE_WORDS))
    expressions["is_active"] = f"CASE WHEN is_active IS NOT NULL THEN lower(is_active) IN ({true_words}) END"
    expressions |= {name: f"{name}_value" for name in ("image_url", *CATALOG_RANGES, *TIMESTAMP_COLUMNS)}
    digested = {name: (name, "VARCHAR") for name in CATALOG_COLUMNS if name not in NOT_DIGESTED}
    digested |= {name: (name, "DOUBLE") for name in CATALOG_RANGES}
    digested |= {name: (name, "TIMESTAMPTZ") for name in TIMESTAMP_COLUMNS}
    for index, (name, style) in enumerate(staging.styles.items()):
        expressions[f"a{index}"] = _typed_value_sql(index, style, types[name][0])
        digested[name] = (f"a{index}", types[name][0])
    columns = ", ".join(f"{expression} AS {name}" for name, expression in expressions.items())
    rows = f"SELECT _row, {columns} FROM {values_query(staging, only)} {WITHOUT_LEFT_OUT}"
    return f"(SELECT *, {attributes_digest_sql(digested)} AS {ATTRIBUTES_DIGEST} FROM ({rows}))"


def sort_accepted_rows(staging: Staging, shards: int, types: AttributeTypes) -> None:
    """Create the table `accepted` (_shard, then the columns of catalog_schema), sorted by _shard and product_id.

    Args:
        staging: the rows; the tables of `validate_rows` name those to leave out.
        shards: the number of shards; see artifacts.schema.shard_of.
        types: as attribute_types returns them.
    """
    run_sql(
        staging.con,
        f"""CREATE TABLE accepted AS
            SELECT ('0x' || substr(md5(product_id), 1, 8))::UBIGINT % {shards} AS _shard, * EXCLUDE (_row)
            FROM {typed_query(staging, types)} ORDER BY _shard, product_id""",
    )
