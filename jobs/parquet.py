"""TODO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from artifacts.errors import CorruptFile


@contextmanager
def corruption_guard(path: str) -> Iterator[None]:
    """Around reading a Parquet file of ours.

    Raises:
        CorruptFile: it is damaged, rather than not reachable.
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        raise CorruptFile(path, str(error)) from None
    except OSError as error:
        if "CRC" not in str(error):  # the store does not answer: nothing is known about the file
            raise
        raise CorruptFile(path, str(error)) from None
