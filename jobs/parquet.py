"""Parquet files of the workspace: distinguishing a damaged file from one that cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from artifacts.errors import CorruptFile


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
