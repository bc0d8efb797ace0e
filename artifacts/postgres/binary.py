"""Vectors and rows in PostgreSQL's binary formats."""

from __future__ import annotations

import numpy as np
import psycopg
from psycopg import pq
from psycopg.adapt import Dumper

#: What precedes and what follows the rows of a binary COPY.
COPY_HEADER, COPY_END = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff"


def halfvec_dtype(dim: int) -> np.dtype:
    """Return the type of a halfvec, with its numbers as the field `vector`."""
    return np.dtype([("dim", ">i2"), ("unused", ">i2"), ("vector", ">f2", dim)])


def halfvec_header(dim: int) -> bytes:
    """Return what precedes the numbers of a halfvec, big-endian float16."""
    return np.array([dim, 0], ">i2").tobytes()


class HalfVector:
    """A vector as a parameter of a statement.

    Args:
        vector: float32[dim]; sent as float16.
    """

    def __init__(self, vector: np.ndarray) -> None:
        self.binary = halfvec_header(len(vector)) + vector.astype(">f2").tobytes()


class _HalfVectorDumper(Dumper):
    """Sends a HalfVector in the binary format. Its type is that of the cast in the statement."""

    format = pq.Format.BINARY
    oid = 0

    def dump(self, obj: HalfVector) -> bytes:
        return obj.binary


def accept_half_vectors(connection: psycopg.Connection) -> None:
    """Let statements of a connection have parameters that are HalfVectors."""
    connection.adapters.register_dumper(HalfVector, _HalfVectorDumper)
