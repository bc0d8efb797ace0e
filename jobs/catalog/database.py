"""A table or a query of any database that SQLAlchemy reaches, streamed into the staging."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, NoSuchTableError, SQLAlchemyError

from artifacts.errors import CatalogError
from jobs.catalog.staging import Staging

BATCH = 10_000
_INT64 = range(-(2**63), 2**63)


def open_database(source: str, forms: str) -> tuple[str, Callable[[Staging], None]]:
    """Take `URL#table`, `URL#schema.table` or `URL#SELECT …` apart; nothing is read yet.

    A `#` inside of the URL itself (a password) has to be written %23.

    Returns:
        the source as it may be shown, and what stages it.

    Raises:
        CatalogError: unknown kind of URL, missing driver, missing table or query, missing SQLite file.
    """
    text, _, wanted = source.partition("#")
    wanted = wanted.strip().rstrip(";")
    try:
        url = sqlalchemy.make_url(text)
        url.get_dialect().import_dbapi()
    except NoSuchModuleError:
        raise CatalogError(f"{text.partition('://')[0]}:// is not a URL that is known; taken are {forms}") from None
    except (ArgumentError, ValueError):
        raise CatalogError("not a database URL; it reads driver://user:password@host/database#table") from None
    except ModuleNotFoundError as error:
        driver = error.name or str(error)
        raise CatalogError(f"the database driver {driver!r} is not installed; install it, or name another") from None
    shown = url.render_as_string(hide_password=True)
    if not wanted:
        raise CatalogError(f"{shown}: add #table or #SELECT … to say what to read")
    name = url.database
    on_disk = url.get_backend_name() == "sqlite" and name and name != ":memory:" and not name.startswith("file:")
    if on_disk and not Path(str(name)).is_file():
        raise CatalogError(f"there is no SQLite file {name}")  # connecting would make an empty one
    return f"{shown}#{wanted}", lambda staging: _stage(url, wanted, staging)


def _stage(url: sqlalchemy.URL, wanted: str, staging: Staging) -> None:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            statement = sqlalchemy.text(wanted.replace(":", r"\:")) if _is_query(wanted) else _table(engine, wanted)
            result = connection.execution_options(stream_results=True, yield_per=BATCH).execute(statement)
            if not result.returns_rows:
                raise CatalogError("the query returns no rows; it has to be a SELECT")
            names = list(map(str, result.keys()))
            staging.begin(names, "VARCHAR")
            kinds: list[set[str]] = [set() for _ in names]
            for rows in result.partitions(BATCH):
                columns = zip(*rows, strict=True)
                texts = ([_cell(value, seen) for value in column] for column, seen in zip(columns, kinds, strict=True))
                staging.add_rows([list(row) for row in zip(*texts, strict=True)])
            staging.finish()
    except NoSuchTableError:
        raise CatalogError(f"there is no table {wanted!r}; a query has to contain a blank") from None
    except SQLAlchemyError as error:
        raise CatalogError(f"the database refuses: {getattr(error, 'orig', None) or error}") from None
    finally:
        engine.dispose()
    staging.styles = {name: _style(kinds[number]) for name, number in staging.columns.attributes.items()}


def _is_query(wanted: str) -> bool:
    return len(wanted.split()) > 1


def _table(engine: sqlalchemy.Engine, wanted: str) -> sqlalchemy.Select[Any]:
    schema, _, name = wanted.rpartition(".")
    table = sqlalchemy.Table(name, sqlalchemy.MetaData(), schema=schema or None, autoload_with=engine)
    # By key, where there is one: which of two equal ids comes first is then the same at every run.
    return sqlalchemy.select(table).order_by(*table.primary_key.columns)


def _cell(value: object, kinds: set[str]) -> str | None:
    """The value as text; notes in `kinds` what it was."""
    if value is None:
        return None
    if isinstance(value, str):
        kinds.add("text")
        return value.encode(errors="replace").decode()  # a lone surrogate cannot be stored
    if isinstance(value, bool):
        kinds.add("bool")
        return "true" if value else "false"
    if isinstance(value, int):
        kinds.add("int" if value in _INT64 else "text")
        return str(value)
    if isinstance(value, float | decimal.Decimal):
        kinds.add("float")
        return str(value)
    if isinstance(value, dt.datetime):
        kinds.add("time")
        return (value.astimezone(dt.UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, dt.date):
        kinds.add("time")
        return value.isoformat()
    kinds.add("text")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def _style(kinds: set[str]) -> str:
    """The type that holds every value that was seen."""
    if kinds and kinds <= {"int", "float"}:
        return "DOUBLE" if "float" in kinds else "BIGINT"
    return {frozenset({"bool"}): "BOOLEAN", frozenset({"time"}): "TIMESTAMPTZ"}.get(frozenset(kinds), "VARCHAR")
