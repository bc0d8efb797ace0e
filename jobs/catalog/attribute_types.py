"""TODO."""

from __future__ import annotations

# ruff: noqa: S608 — what is put into the SQL is our own names, numbers and literal(); never a value of the catalog.
import pyarrow as pa

from artifacts.schema import CATALOG_COLUMNS, CATALOG_RANGES, TIMESTAMP
from jobs.catalog.rules import TIMES, YEARS, YES, cells_query, clean, values_query
from jobs.catalog.staging import Staging, literal, run_sql

# Numbers as programs write them: "00123" and "+49" are codes, not numbers.
_INTEGER = literal(r"-?(0|[1-9][0-9]*)")
_FLOAT = literal(r"-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?")

_TYPES: dict[frozenset[str], tuple[str, pa.DataType]] = {
    frozenset({"bool"}): ("BOOLEAN", pa.bool_()),
    frozenset({"int"}): ("BIGINT", pa.int64()),
    frozenset({"float"}): ("DOUBLE", pa.float64()),
    frozenset({"int", "float"}): ("DOUBLE", pa.float64()),
    frozenset({"time"}): ("TIMESTAMPTZ", TIMESTAMP),
}


# ── good rows ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _value(index: int, style: str) -> str:
    """An attribute's cell as clean text, or as it is where it has a type."""
    if style in ("text", "VARCHAR"):
        return clean(f"a{index}")
    return clean(f"(a{index}::JSON ->> '$')") if style == "json" else f"a{index}"


def _kind(index: int, style: str) -> str:
    """What an attribute's cell could be: bool, int, float, text, or null where there is nothing in it."""
    value = _value(index, style)
    numeric = f"""WHEN regexp_full_match({value}, {_INTEGER})
            THEN CASE WHEN TRY_CAST({value} AS BIGINT) IS NULL THEN 'text' ELSE 'int' END
        WHEN regexp_full_match({value}, {_FLOAT}) AND isfinite(TRY_CAST({value} AS DOUBLE)) THEN 'float'"""
    if style == "text":
        return f"""CASE WHEN {value} IS NULL THEN NULL WHEN lower({value}) IN ('true', 'false') THEN 'bool'
            {numeric} ELSE 'text' END"""
    json_type = f"json_type(a{index}::JSON)"
    return f"""CASE WHEN {value} IS NULL THEN NULL WHEN {json_type} = 'BOOLEAN' THEN 'bool'
        WHEN {json_type} IN ('VARCHAR', 'OBJECT', 'ARRAY') THEN 'text' {numeric} ELSE NULL END"""


def attribute_types(staging: Staging) -> dict[str, tuple[str, pa.DataType]]:
    """DuckDB and Arrow type of each attribute; where the source has none, the narrowest that holds all good rows."""
    styles = list(staging.styles.values())
    open_ = [index for index, style in enumerate(styles) if style in ("text", "json")]
    kinds: dict[int, frozenset[str]] = {}
    if open_:
        lists = ", ".join(f"list(DISTINCT {_kind(index, styles[index])})" for index in open_)
        (found,) = run_sql(staging.con, f"SELECT {lists} FROM {cells_query(staging)} ANTI JOIN rejected USING (_row)")
        kinds = {index: frozenset(filter(None, seen or ())) for index, seen in zip(open_, found, strict=True)}
    by_name = {name: (name, kind) for name, kind in _TYPES.values()}
    text = ("VARCHAR", pa.string())
    return {
        name: _TYPES.get(kinds[index], text) if index in kinds else by_name.get(styles[index], text)
        for index, name in enumerate(staging.styles)
    }


def _typed(index: int, style: str, kind: str) -> str:
    value = _value(index, style)
    if kind == "DOUBLE":  # what is no number is none; NaN and infinity would be no JSON later
        cast = f"TRY_CAST({value} AS DOUBLE)"
        return f"CASE WHEN isfinite({cast}) THEN {cast} END"
    if kind == "TIMESTAMPTZ":
        cast = f"TRY_CAST({value} AS TIMESTAMPTZ)"
        return f"CASE WHEN {cast} {YEARS} THEN {cast} END"
    return value if kind == "VARCHAR" else f"TRY_CAST({value} AS {kind})"


def sort_accepted_rows(staging: Staging, shards: int, types: dict[str, tuple[str, pa.DataType]]) -> None:
    """Make the table `accepted`: _shard, the columns of catalog_schema; in the order of _shard, product_id."""
    expressions = {name: name for name in CATALOG_COLUMNS}
    expressions["is_active"] = (
        f"CASE WHEN is_active IS NOT NULL THEN lower(is_active) IN ({', '.join(map(literal, YES))}) END"
    )
    expressions |= {name: f"{name}_value" for name in ("image_url", *CATALOG_RANGES, *TIMES)}
    for index, (name, style) in enumerate(staging.styles.items()):
        expressions[f"a{index}"] = _typed(index, style, types[name][0])
    columns = ", ".join(f"{expression} AS {name}" for name, expression in expressions.items())
    run_sql(
        staging.con,
        f"""CREATE TABLE accepted AS
            SELECT ('0x' || substr(md5(product_id), 1, 8))::UBIGINT % {shards} AS _shard, {columns}
            FROM {values_query(staging)} ANTI JOIN rejected USING (_row) ORDER BY _shard, product_id""",
    )
