"""The table of a collection: its columns, its rows in COPY's binary format, and what its comment says of it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, repeat
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import sql

from artifacts.engines.collection import Collection, RowBatch
from artifacts.engines.pgvector.options import IndexOptions, index_options
from artifacts.errors import EngineError
from artifacts.postgres.binary import COPY_END, COPY_HEADER, halfvec_header
from artifacts.products.columns import BOOLEAN, INTEGER, NUMBER, TEXT, TIME, ColumnType, type_of_column

#: PostgreSQL's names of the types of values.
PARAMETER_TYPES = {
    TEXT: sql.SQL("text"),
    NUMBER: sql.SQL("double precision"),
    INTEGER: sql.SQL("bigint"),
    BOOLEAN: sql.SQL("boolean"),
    TIME: sql.SQL("timestamptz"),
}

#: The same of columns. Collation "C" compares texts by code point, as DuckDB and Python do.
_COLUMN_TYPES = PARAMETER_TYPES | {TEXT: sql.SQL('text COLLATE "C"')}

#: pgvector builds no index over longer halfvecs.
_MAX_DIM = 4_000

#: Longer vectors are stored outside of their rows: a page has 8 kB.
_MAX_PLAIN_DIM = 3_500

#: PostgreSQL counts microseconds from here.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_MICROSECONDS = int(_EPOCH.timestamp()) * 1_000_000

_NULL = struct.pack(">i", -1)
_NUMBER = struct.Struct(">id").pack
_INTEGER = struct.Struct(">iq").pack
_BOOLEAN = struct.Struct(">i?").pack


def storable(text: str) -> str:
    """Return a text as it is stored and compared: PostgreSQL's have no NUL."""
    return text.replace("\x00", "\x01")


def _text(value: str) -> bytes:
    text = storable(value).encode()
    return struct.pack(">i", len(text)) + text


#: Encoders of a value as a field in COPY's binary format: its length, and its bytes.
_FIELDS: dict[ColumnType, Callable[[Any], bytes]] = {
    TEXT: _text,
    NUMBER: lambda value: _NUMBER(8, value),
    INTEGER: lambda value: _INTEGER(8, value),
    BOOLEAN: lambda value: _BOOLEAN(1, value),
    TIME: lambda value: _INTEGER(8, value - _EPOCH_MICROSECONDS),
}


class Table:
    """The table of a collection.

    Args:
        collection: whose name, columns and options it has.

    Attributes:
        collection: the same.
        options: how its index is built.
        name: of the table.

    Raises:
        EngineError: an option is wrong, or the vectors are too long.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.options: IndexOptions = index_options(collection.options, collection.rows)
        self.name = sql.Identifier(collection.name)
        if collection.dim > _MAX_DIM:
            raise EngineError(f"pgvector indexes vectors of up to {_MAX_DIM:,} numbers; these have {collection.dim:,}")

    @cached_property
    def types(self) -> dict[str, ColumnType]:
        """Types of the columns that can be filtered on, by their names in the table."""
        return {self.collection.field(name): type_of_column(dtype) for name, dtype in self.collection.columns.items()}

    @cached_property
    def _shape(self) -> dict[str, Any]:
        columns = {name: dtype.sql for name, dtype in self.types.items()}
        return {"rows": self.collection.rows, "dim": self.collection.dim, "columns": columns}

    def comment(self, complete: bool) -> str:
        """Return what the comment of the table says: its shape, how its index is built, and whether it is."""
        index = {"method": self.options.index, **self.options.built}
        return json.dumps({**self._shape, "index": index, "complete": complete})

    def has_shape(self, described: dict[str, Any]) -> bool:
        """Return whether a comment, as parsed, is that of such a table, however its index is built."""
        return described.items() >= self._shape.items()

    def created(self) -> sql.Composed:
        """Return the statement that creates the table."""
        storage = "plain" if self.collection.dim <= _MAX_PLAIN_DIM else "external"
        columns = [
            sql.SQL("id bigint PRIMARY KEY"),
            sql.SQL("vector halfvec({}) STORAGE {} NOT NULL").format(self.collection.dim, sql.SQL(storage)),
            *(
                sql.SQL("{} {}").format(sql.Identifier(name), _COLUMN_TYPES[dtype])
                for name, dtype in self.types.items()
            ),
        ]
        return sql.SQL("CREATE TABLE {} ({})").format(self.name, sql.SQL(", ").join(columns))

    def index(self) -> sql.Composed:
        """Return the statement that builds the index over the vectors."""
        return sql.SQL("CREATE INDEX ON {} USING {} (vector halfvec_ip_ops) WITH ({})").format(
            self.name,
            sql.SQL(self.options.index),  # type: ignore[arg-type]  # one of two words
            sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in self.options.built.items()
            ),
        )

    def copied(self) -> sql.Composed:
        """Return the statement that takes `rows`."""
        names = sql.SQL(", ").join(map(sql.Identifier, ("id", "vector", *self.types)))
        return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(self.name, names)

    def rows(self, batch: RowBatch) -> bytes:
        """Return the rows of a batch in COPY's binary format. Columns are joined: 60 times faster than row by row."""
        vectors = np.ascontiguousarray(batch.vectors, ">f2").view(np.uint8)
        header = halfvec_header(self.collection.dim)
        header = struct.pack(">i", len(header) + vectors.shape[1]) + header
        fields = [
            repeat(struct.pack(">h", 2 + len(self.types))),
            [_INTEGER(8, row) for row in batch.rows.tolist()],
            repeat(header),
            list(map(bytes, vectors)),
        ]
        for name, of_type in zip(self.collection.columns, self.types.values(), strict=True):
            fields.append(_column(batch.columns.column(name), of_type))
        rows = b"".join(chain.from_iterable(zip(*fields, strict=False)))  # some are repeated without end
        return COPY_HEADER + rows + COPY_END


def _column(column: pa.ChunkedArray, of_type: ColumnType) -> list[bytes]:
    """Return the fields of a column."""
    if of_type is TIME:
        column = column.cast(pa.int64())
    encode = _FIELDS[of_type]
    return [_NULL if value is None else encode(value) for value in column.to_pylist()]
