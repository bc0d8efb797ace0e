"""Opens DuckDB files read only, and prepares what every statement on them needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path

import duckdb

from artifacts.products.sql import quoted, text_literal

#: DuckDB's optimizers that statements over one or two tables need. With all of them a facet of 500,000 rows takes a
#: tenth longer, and a scan of a small delta a sixth.
_OPTIMIZERS = frozenset(
    ("expression_rewriter", "filter_pushdown", "in_clause", "statistics_propagation", "top_n", "unused_columns")
)

#: Parsed statements that are kept. A statement as text takes 0.1 to 0.4 ms more, as long as a scan of a delta.
_PARSED_STATEMENTS = 256


def connect(files: Mapping[str, Path], *, threads: int = 1) -> duckdb.DuckDBPyConnection:
    """Open DuckDB files read only, by name. SQL can reach nothing but these, and no statement can change that."""
    connection = duckdb.connect(config={"disabled_optimizers": _unneeded_optimizers(), "threads": str(threads)})
    try:
        for name, path in files.items():
            connection.execute(f"ATTACH {text_literal(str(path))} AS {quoted(name)} (READ_ONLY)")
        # What times are as text must not depend on the machine. Without GLOBAL it would not hold for cursors.
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


@cache
def _unneeded_optimizers() -> str:
    """Return the value of `disabled_optimizers`."""
    with duckdb.connect() as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()]
    return ",".join(name for name in names if name not in _OPTIMIZERS)


def statement_parser(connection: duckdb.DuckDBPyConnection) -> Callable[[str], duckdb.Statement]:
    """Return a function that parses a statement, and keeps what it has parsed. Safe to use from several threads."""

    @lru_cache(_PARSED_STATEMENTS)
    def parse(statement: str) -> duckdb.Statement:
        with connection.cursor() as cursor:
            (parsed,) = cursor.extract_statements(statement)
        return parsed

    return parse
