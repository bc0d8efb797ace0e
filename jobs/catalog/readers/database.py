"""Stages a table or a query of any database that SQLAlchemy supports, streamed in batches."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, NoSuchTableError, SQLAlchemyError

from artifacts.errors import CatalogError
from jobs.catalog.staging import Staging

#: Rows that are fetched at a time.
BATCH = 10_000
_INT64 = range(-(2**63), 2**63)


def open_database(source: str, supported_forms: str) -> tuple[str, Callable[[Staging], None]]:
    """Split `URL#table`, `URL#schema.table` or `URL#SELECT …` into its parts, without reading anything yet.

    A `#` inside the URL itself (in a password) must be written as %23.

    Args:
        source: the URL, and the table or query after the first `#`.
        supported_forms: the forms that a catalog may have, for the message about an unknown URL.

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
    display_name = url.render_as_string(hide_password=True)
    if not selection:
        raise CatalogError(f"{display_name}: add #table or #SELECT … to name what to read")
    file = url.database if url.get_backend_name() == "sqlite" else None
    if file and file != ":memory:" and not file.startswith("file:") and not Path(file).is_file():
        raise CatalogError(f"there is no SQLite file {file}")  # connecting would create an empty one
    return f"{display_name}#{selection}", partial(_stage_database, url, selection)


def _stage_database(url: sqlalchemy.URL, selection: str, staging: Staging) -> None:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            statement = _to_statement(engine, selection)
            result = connection.execution_options(stream_results=True, yield_per=BATCH).execute(statement)
            if not result.returns_rows:
                raise CatalogError("the query returns no rows; it must be a SELECT")
            names = list(map(str, result.keys()))
            staging.set_columns(names, "VARCHAR")
            column_types: list[set[str]] = [set() for _ in names]
            for rows in result.partitions(BATCH):
                columns = zip(*rows, strict=True)
                cells = (
                    [_to_text(value, types) for value in column]
                    for column, types in zip(columns, column_types, strict=True)
                )
                staging.add_rows([list(row) for row in zip(*cells, strict=True)])
            staging.finish()
    except NoSuchTableError:
        raise CatalogError(f"there is no table {selection!r}; a query must contain a space") from None
    except SQLAlchemyError as error:
        raise CatalogError(f"the database reports: {getattr(error, 'orig', None) or error}") from None
    finally:
        engine.dispose()
    staging.styles = {name: _style(column_types[index]) for name, index in staging.columns.attributes.items()}


def _to_statement(engine: sqlalchemy.Engine, selection: str) -> sqlalchemy.TextClause | sqlalchemy.Select[Any]:
    """Return the SQL statement of a query, which contains a space, or of a table's name."""
    if len(selection.split()) > 1:
        return sqlalchemy.text(selection.replace(":", r"\:"))
    schema, _, name = selection.rpartition(".")
    table = sqlalchemy.Table(name, sqlalchemy.MetaData(), schema=schema or None, autoload_with=engine)
    # Sorted by the primary key, if any: which of two equal ids comes first is then the same in every run.
    return sqlalchemy.select(table).order_by(*table.primary_key.columns)


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
