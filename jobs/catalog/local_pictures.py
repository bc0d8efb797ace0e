"""Pictures that are files in the catalog's folder on this machine: where they are, and the stamps that tell edits.

No file outside that folder is reached, by `..` or by a symbolic link; otherwise a catalog could publish any file that
the process can read.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from artifacts.errors import PictureError
from artifacts.schema import Reason
from artifacts.storage import Folder

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
WEB_SCHEMES = ("http", "https")

#: Stamp of a local file that cannot be read: it does not exist (yet), is not a regular file, or is outside the folder.
NO_FILE = "none"


def url_scheme(url: str) -> str:
    """Return the URL's scheme in lower case; empty if it has none."""
    match = _SCHEME.match(url.lstrip())
    return match[1].lower() if match else ""


def depends_on_folder(url: str) -> bool:
    """Return whether a picture's URL is resolved against the catalog's folder: true for all but http(s) URLs."""
    return url_scheme(url) not in WEB_SCHEMES and not url.strip().startswith("//")


class LocalPictures:
    """The pictures in a catalog's folder, if that is on this machine.

    Args:
        base: the catalog's folder, a path or URL; None if it has none (a database).

    Attributes:
        root: the folder's real path; None if it is not on this machine.
    """

    def __init__(self, base: str | None) -> None:
        folder = Folder(base) if base and url_scheme(base) not in WEB_SCHEMES else None
        self.root = os.path.realpath(folder.root) if folder and folder.is_local else None

    def stamp(self, url: str) -> str | None:
        """Return a text that changes with the local file, "<size in bytes>:<mtime in ns>"; None if it is not local."""
        if self.root is None or not depends_on_folder(url):
            return None
        try:
            status = Path(self.resolve(url)).stat()
        except (OSError, ValueError, PictureError):
            return NO_FILE
        return f"{status.st_size}:{status.st_mtime_ns}" if stat.S_ISREG(status.st_mode) else NO_FILE

    def resolve(self, url: str) -> str:
        """Return the real path of a local file, with all links followed.

        Raises:
            PictureError: BAD_URL, OUTSIDE_CATALOG.
        """
        path = url
        if scheme := url_scheme(url):
            parts = urlsplit(url)
            if scheme != "file" or parts.netloc not in ("", "localhost"):
                raise PictureError(Reason.BAD_URL, f"{scheme[:20]}: URLs are not fetched")
            path = unquote(parts.path)
        root = self.root or ""
        real = os.path.realpath(Path(root) / path)
        if os.path.commonpath([root, real]) != root:
            raise PictureError(Reason.OUTSIDE_CATALOG, "the file is outside the catalog's folder")
        return real
