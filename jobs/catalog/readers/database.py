"""Stages a table or a query of any database that SQLAlchemy supports, streamed in batches."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, NoSuchTableError, SQLAlchemyError

from artifacts.errors import CatalogError
from jobs.catalog.source import hide_password_option
from jobs.catalog.staging import Staging, column_key

#: Rows that are fetched at a time.
BATCH = 10_000
#: The column that a watermark is the greatest value of.
UPDATED_AT = "updated_at"
#: Before any row was updated.
EARLIEST = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
_INT64 = range(-(2**63), 2**63)

# Texts, quoted names and comments of a query, in which nothing is a parameter; a parameter; a colon, as in x::date.
_QUERY_PARTS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | (?P<watermark>(?<!:):watermark\b) | :""",
    re.DOTALL | re.VERBOSE,
)


def open_database(
    source: str, supported_forms: str, since: dt.datetime | None = None
) -> tuple[str, Callable[[Staging], None]]:
    """Split `URL#table`, `URL#schema.table` or `URL#SELECT …` into its parts, without reading anything yet.

    A `#` inside the URL itself (in a password) must be written as %23.

    Args:
        source: the URL, and the table or query after the first `#`.
        supported_forms: the forms that a catalog may have, for the message about an unknown URL.
        since: only rows that were updated later are read, of a table with a column updated_at, and of a query that
            compares with `:watermark`; aware; None for all rows.

    Returns:
        The source's display name, without the password, and the function that stages it.

    Raises:
        CatalogError: unsupported URL, missing driver, missing table or query, missing SQLite file.
    """
    url_text, _, selection = source.partition("#")
    selection = selection.strip().rstrip(";")
    try:
        url = sqlalchemy.make_url(url_text)
        url.get_dialect().import_dbapi()
    except NoSuchModuleError:
        scheme = url_text.partition("://")[0]
        raise CatalogError(f"{scheme}:// is not a supported URL; supported are {supported_forms}") from None
    except (ArgumentError, ValueError):
        raise CatalogError("not a database URL; write driver://user:password@host/database#table") from None
    except ModuleNotFoundError as error:
        driver = error.name or str(error)
        raise CatalogError(f"the database driver {driver!r} is not installed; install it or use another") from None
    display_name = hide_password_option(url.render_as_string(hide_password=True))
    if not selection:
        raise CatalogError(f"{display_name}: add #table or #SELECT … to name what to read")
    file = url.database if url.get_backend_name() == "sqlite" else None
    if file and file != ":memory:" and not file.startswith("file:") and not Path(file).is_file():
        raise CatalogError(f"there is no SQLite file {file}")  # connecting would create an empty one
    return f"{display_name}#{selection}", partial(_stage_database, url, selection, since)


def _stage_database(url: sqlalchemy.URL, selection: str, since: dt.datetime | None, staging: Staging) -> None:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":  # which compares a timestamp without a zone in that of the session
                connection.execute(sqlalchemy.text("SET TIME ZONE 'UTC'"))
            to_statement = _query_statement if _is_query(selection) else _table_statement
            statement = to_statement(engine, selection, since)
            streamed = connection.execution_options(stream_results=True, yield_per=BATCH)
            with streamed.execute(statement) as result:
                if not result.returns_rows:
                    raise CatalogError("the query returns no rows; it must be a SELECT")
                names = list(map(str, result.keys()))
                if _is_query(selection) and _has_watermark(selection) and UPDATED_AT not in map(column_key, names):
                    raise CatalogError("the query uses :watermark: select the column that it compares, as updated_at")
                _stage_result(result, names, staging)
    except NoSuchTableError:
        raise CatalogError(f"there is no table {selection!r}; a query must contain a space") from None
    except SQLAlchemyError as error:
        raise CatalogError(f"the database reports: {getattr(error, 'orig', None) or error}") from None
    finally:
        engine.dispose()


def _stage_result(result: sqlalchemy.CursorResult[Any], names: list[str], staging: Staging) -> None:
    staging.set_columns(names, "VARCHAR")
    column_types: list[set[str]] = [set() for _ in names]
    for rows in result.partitions(BATCH):
        columns = zip(*rows, strict=True)
        cells = (
            [_to_text(value, types) for value in column] for column, types in zip(columns, column_types, strict=True)
        )
        staging.add_rows([list(row) for row in zip(*cells, strict=True)])
    staging.finish()
    staging.styles = {name: _style(column_types[index]) for name, index in staging.columns.attributes.items()}


def _is_query(selection: str) -> bool:
    """Return whether the text after the # is a query, and not a table's name: it contains a space."""
    return len(selection.split()) > 1


def _has_watermark(query: str) -> bool:
    """Return whether a query has the parameter `:watermark`."""
    return any(match["watermark"] for match in _QUERY_PARTS.finditer(query))


def _query_statement(engine: sqlalchemy.Engine, query: str, since: dt.datetime | None) -> sqlalchemy.TextClause:
    """Return a query as a statement; `:watermark` is its only parameter, any other colon is itself."""
    text = _QUERY_PARTS.sub(lambda match: match[0] if match["watermark"] else match[0].replace(":", r"\:"), query)
    statement = sqlalchemy.text(text)
    return statement.bindparams(_watermark(engine, since or EARLIEST)) if _has_watermark(query) else statement


def _table_statement(engine: sqlalchemy.Engine, name: str, since: dt.datetime | None) -> sqlalchemy.Select[Any]:
    """Return the statement of a table's rows: of all, or of those that were updated later.

    A table without a column updated_at that is a date or time is read whole.
    """
    schema, _, table_name = name.rpartition(".")
    table = sqlalchemy.Table(table_name, sqlalchemy.MetaData(), schema=schema or None, autoload_with=engine)
    # Sorted by the primary key, if any: which of two equal ids comes first is then the same in every run.
    statement = sqlalchemy.select(table).order_by(*table.primary_key.columns)
    if since is None:
        return statement
    updated_at = next((column for column in table.columns if column_key(column.name) == UPDATED_AT), None)
    if updated_at is None or not isinstance(updated_at.type, sqlalchemy.DateTime | sqlalchemy.Date):
        return statement
    return statement.where(updated_at > _watermark(engine, since))


def _watermark(engine: sqlalchemy.Engine, since: dt.datetime) -> sqlalchemy.BindParameter[dt.datetime]:
    """Return the parameter: with its time zone for PostgreSQL, in UTC without one for the others."""
    zoned = engine.dialect.name == "postgresql"
    value = since.astimezone(dt.UTC)
    return sqlalchemy.bindparam(
        "watermark", value if zoned else value.replace(tzinfo=None), sqlalchemy.DateTime(timezone=zoned)
    )


def _to_text(value: object, types: set[str]) -> str | None:
    """Return the value as text, and add its type to `types`."""
    if value is None:
        return None
    if isinstance(value, str):
        types.add("text")
        return value.encode(errors="replace").decode()  # a lone surrogate cannot be stored
    if isinstance(value, bool):
        types.add("bool")
        return "true" if value else "false"
    if isinstance(value, int):
        types.add("int" if value in _INT64 else "text")
        return str(value)
    if isinstance(value, float | decimal.Decimal):
        types.add("float")
        return str(value)
    if isinstance(value, dt.datetime):
        types.add("time")
        return (value.astimezone(dt.UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, dt.date):
        types.add("time")
        return value.isoformat()
    types.add("text")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def _style(types: set[str]) -> str:
    """Return the DuckDB type that holds values of all these types."""
    if types and types <= {"int", "float"}:
        return "DOUBLE" if "float" in types else "BIGINT"
    return {frozenset({"bool"}): "BOOLEAN", frozenset({"time"}): "TIMESTAMPTZ"}.get(frozenset(types), "VARCHAR")
