"""Reading text files in blocks of bytes, and shortening their text for messages."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import IO, cast

from artifacts.errors import CatalogError

#: Bytes that are read at a time.
BLOCK = 1 << 20
#: Longest line or CSV row in bytes; reading stops at a longer one, with an error.
MAX_LINE = 64 << 20
_OTHER_ENCODINGS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x00\x00\xfe\xff", "UTF-32"))


def read_blocks(path: Path) -> Generator[bytes]:
    """Yield a file's bytes without a UTF-8 byte order mark, decompressed if its name ends in .gz.

    The first block is yielded even if the file is empty.

    Raises:
        CatalogError: the file has the byte order mark of another encoding, or cannot be decompressed.
    """
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with cast("IO[bytes]", opener(path, "rb")) as file:
        try:
            block = file.read(BLOCK)
            for mark, encoding in _OTHER_ENCODINGS:
                if block.startswith(mark):
                    raise CatalogError(f"the file is {encoding}; save it as UTF-8")
            yield block.removeprefix(b"\xef\xbb\xbf")
            while block := file.read(BLOCK):
                yield block
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CatalogError(f"the file cannot be decompressed: {error}") from None


def truncate(text: str, limit: int = 80) -> str:
    """Shorten a text for a message: one line of at most `limit` characters."""
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"
