"""Parquet files of the workspace: reading them block by block, and telling a damaged one from one out of reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import CorruptFile


def open_for_batches(file: IO[bytes]) -> pq.ParquetFile:
    """Open a Parquet file whose `iter_batches` holds a row group at a time.

    By default, Arrow reads ahead, and holds what it has read: all row groups of the columns, once the last batch comes.
    """
    return pq.ParquetFile(file, pre_buffer=False)


def read_parquet(file: IO[bytes], columns: Sequence[str] | None = None, *, checked: bool = False) -> pa.Table:
    """Read an open Parquet file.

    `pyarrow.parquet.read_table` scans it in threads that may let go of the file after Python has begun to end; that
    aborts the process (pyarrow 26: one run of four that ended with an error right after, on a busy machine).

    Args:
        columns: to read; all by default.
        checked: whether the checksums of pages are verified.
    """
    return pq.ParquetFile(file, page_checksum_verification=checked).read(columns)


@contextmanager
def corruption_guard(path: str) -> Iterator[None]:
    """Raise CorruptFile where the block fails because the Parquet file that it reads is damaged.

    Steps reuse their earlier output. A damaged file must be written again, whereas a store that does not answer says
    nothing about the file: its errors pass unchanged.

    Args:
        path: of the file, for the message.

    Raises:
        CorruptFile: Arrow cannot parse the file, or a page's checksum is wrong (an OSError that names the CRC; pages
            are checked only by a reader with page_checksum_verification).
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        raise CorruptFile(path, str(error)) from None
    except OSError as error:
        if "CRC" not in str(error):
            raise
        raise CorruptFile(path, str(error)) from None
