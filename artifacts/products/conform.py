"""Brings product rows to another schema of the same catalog: attributes come, go, and change their types."""

from __future__ import annotations

from functools import cache

import duckdb
import pyarrow as pa

from artifacts.products.columns import type_of_column


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows in another schema.

    Columns that the schema lacks are dropped, and those that the rows lack are null. Values of another type are cast
    as filters cast them: one that cannot be cast is null.
    """
    columns = [
        cast(table[field.name], field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def cast(column: pa.Array | pa.ChunkedArray, dtype: pa.DataType) -> pa.ChunkedArray:
    """Return a column in another type, as filters cast it: a value that cannot be cast is null."""
    if column.type != dtype:
        statement = f"SELECT TRY_CAST(value AS {type_of_column(dtype).sql}) AS value FROM rows"  # noqa: S608
        with _connection().cursor() as cursor:
            cursor.register("rows", pa.table({"value": column}))
            column = cursor.sql(statement).to_arrow_table()["value"].cast(dtype)
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    """Return a database without tables: a new one for each cast takes ten times as long as a cast of a few rows."""
    connection = duckdb.connect(config={"threads": "1"})
    connection.execute("SET GLOBAL TimeZone = 'UTC'")  # GLOBAL: for cursors too
    return connection


def merged_schema(schema: pa.Schema, older: pa.Schema) -> pa.Schema:
    """Return a schema with the columns of an older one that it lacks at the end.

    Where the types differ, the column gets one that holds the values of both: a number for integers and numbers, text
    for all others.
    """
    fields = [
        field.with_type(_common_type(field.type, older.field(field.name).type)) if field.name in older.names else field
        for field in schema
    ]
    return pa.schema([*fields, *(field for field in older if field.name not in schema.names)])


def _common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    if first == second:
        return first
    return pa.float64() if {first, second} == {pa.int64(), pa.float64()} else pa.large_string()
