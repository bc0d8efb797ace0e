"""Embeddings in PostgreSQL: on disk, durable, and within reach of SQL.

A table for each encoder, `lookalike_embeddings_<digest>`, whose comment is the encoder's id: sha256 bytea, the primary
key, and vector halfvec(dim), so that it can be searched with pgvector, too. Where that extension is missing and cannot
be created, `vector` is a bytea of little-endian float16.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

import numpy as np
import psycopg
from psycopg import sql

from artifacts.errors import EmbeddingStoreError, InputError
from artifacts.features.base import KEY_BYTES, EmbeddingStore
from artifacts.postgres.binary import COPY_END, COPY_HEADER, halfvec_dtype
from artifacts.postgres.connection import Connection
from artifacts.postgres.pool import Pool

VectorType = Literal["halfvec", "bytea"]

#: One process at a time makes tables: concurrent `create … if not exists` of one name fail in PostgreSQL.
_CREATE_LOCK = 0x6C6F6F6B  # "look"
#: A row that is stored in place must fit a page of 8 kB; longer vectors are stored outside of it.
_BYTES_IN_PLACE = 7800


class PostgresStore(EmbeddingStore):
    """Vectors in tables of a PostgreSQL database, which are made when they are needed.

    Args:
        url: postgresql://host:port/database, without credentials.
        user: name; empty: as libpq finds it.
        password: empty: as libpq finds it.
        seconds: that a call may take.

    Raises:
        InputError: the URL is not one of a PostgreSQL.
    """

    rows_per_call: ClassVar[int] = 5000

    def __init__(self, url: str, user: str, password: str, *, seconds: float) -> None:
        self._url, self._seconds = url, seconds
        try:
            self._pool = Pool(url.replace("postgresql+psycopg://", "postgresql://", 1), user, password, self._prepare)
        except psycopg.ProgrammingError as error:
            raise InputError(f"embedding_store {url!r}: {str(error).strip()}") from error
        self._types: dict[str, VectorType] = {}  # of the tables that are known to exist

    def _read(self, encoder_id: str, keys: list[bytes], found: np.ndarray, vectors: np.ndarray) -> None:
        dim = vectors.shape[1]
        table = _table(encoder_id, dim)
        with self._connection() as connection, connection.cursor(binary=True) as cursor:
            vector_type = self._vector_type(connection, table)
            if vector_type is None:
                return
            query = sql.SQL("select sha256, vector from {} where sha256 = any(%b)").format(sql.Identifier(table))
            row_of = {key: row for row, key in enumerate(keys)}
            dtype = _value_dtype(vector_type, dim)
            for start in range(0, len(keys), self.rows_per_call):
                cursor.execute(query, [keys[start : start + self.rows_per_call]])
                good = [(key, value) for key, value in cursor.fetchall() if len(value) == dtype.itemsize]
                rows = [row_of[key] for key, _ in good]
                found[rows] = True
                vectors[rows] = np.frombuffer(b"".join(value for _, value in good), dtype)["vector"]

    def _write(self, encoder_id: str, keys: list[bytes], vectors: np.ndarray) -> None:
        dim = vectors.shape[1]
        table = _table(encoder_id, dim)
        with self._connection() as connection, connection.transaction(), connection.cursor() as cursor:
            vector_type = self._vector_type(connection, table) or _create_table(connection, table, encoder_id, dim)
            names = {"table": sql.Identifier(table)}
            cursor.execute(
                sql.SQL("create temporary table lookalike_put (like {table}) on commit drop").format(**names)
            )
            with cursor.copy("copy lookalike_put (sha256, vector) from stdin (format binary)") as copy:
                copy.write(COPY_HEADER)
                for start in range(0, len(keys), self.rows_per_call):
                    end = start + self.rows_per_call
                    copy.write(_copy_rows(keys[start:end], vectors[start:end], vector_type))
                copy.write(COPY_END)
            # In the order of the keys: two processes that insert the same rows wait for each other in no circle.
            cursor.execute(
                sql.SQL(
                    "insert into {table} (sha256, vector) select sha256, vector from lookalike_put order by sha256"
                    " on conflict do nothing"
                ).format(**names)
            )

    def close(self) -> None:
        self._pool.close()

    def _vector_type(self, connection: Connection, table: str) -> VectorType | None:
        """Return the type of a table's vectors; None if there is no such table."""
        if table not in self._types:
            query = (
                "select typname from pg_attribute join pg_type on pg_type.oid = atttypid"
                " where attrelid = to_regclass(%s) and attname = 'vector'"
            )
            row = connection.execute(query, [table]).fetchone()
            if row is None:
                return None
            self._types[table] = row[0]
        return self._types[table]

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Yield a connection for one call."""
        try:
            with self._pool.use(self._seconds) as connection:
                yield connection
        except psycopg.Error as error:
            self._types.clear()  # a table may be gone
            detail = " ".join(str(error).split())
            raise EmbeddingStoreError(f"embedding store {self._url}: {detail or type(error).__name__}") from error

    def _prepare(self, connection: Connection) -> None:
        connection.prepare_threshold = None  # poolers may hand a session to another client after each transaction
        connection.execute("select set_config('statement_timeout', %s, false)", [str(connection.milliseconds)])


def _table(encoder_id: str, dim: int) -> str:
    return f"lookalike_embeddings_{hashlib.sha256(f'{encoder_id} {dim}'.encode()).hexdigest()[:16]}"


def _create_table(connection: Connection, table: str, encoder_id: str, dim: int) -> VectorType:
    """Make the table of an encoder unless another process has; return the type of its vectors."""
    connection.execute("select pg_advisory_xact_lock(%s)", [_CREATE_LOCK])
    try:
        with connection.transaction():
            connection.execute("create extension if not exists vector")
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile, psycopg.errors.InsufficientPrivilege):
        pass  # not installed, or this user may not create it
    row = connection.execute("select to_regtype('halfvec') is not null").fetchone()
    vector_type: VectorType = "halfvec" if row and row[0] else "bytea"
    names = {"table": sql.Identifier(table), "id": sql.Literal(encoder_id)}
    column = sql.SQL("halfvec({})").format(sql.Literal(dim)) if vector_type == "halfvec" else sql.SQL("bytea")
    storage = sql.SQL("plain" if 2 * dim <= _BYTES_IN_PLACE else "external")
    for statement in (
        "create table if not exists {table} (sha256 bytea primary key, vector {column} not null)",
        "alter table {table} alter column vector set storage {storage}",
        "comment on table {table} is {id}",
    ):
        connection.execute(sql.SQL(statement).format(**names, column=column, storage=storage))
    return vector_type


def _value_dtype(vector_type: VectorType, dim: int) -> np.dtype:
    """Return the binary form of a vector, as the field `vector`."""
    if vector_type == "bytea":
        return np.dtype([("vector", "<f2", dim)])
    return halfvec_dtype(dim)


def _copy_rows(keys: list[bytes], vectors: np.ndarray, vector_type: VectorType) -> bytes:
    """Return rows as a binary COPY takes them: number of columns, then length and bytes of each."""
    value = _value_dtype(vector_type, vectors.shape[1])
    row = [("columns", ">i2"), ("key_bytes", ">i4"), ("key", "V32"), ("value_bytes", ">i4"), ("value", value)]
    rows = np.zeros(len(keys), dtype=row)
    rows["columns"], rows["key_bytes"], rows["value_bytes"] = 2, KEY_BYTES, value.itemsize
    rows["key"] = np.frombuffer(b"".join(keys), "V32")
    rows["value"]["vector"] = vectors
    if vector_type == "halfvec":
        rows["value"]["dim"] = vectors.shape[1]
    return rows.tobytes()
