"""Pictures beside the catalog: files in the catalog's own folder, which may be local, on a store or on the web.

A catalog may name files relative to itself, by absolute path or by file: URL. None of these may leave its folder, by
`..` or by a symbolic link; otherwise a catalog could publish any file that the worker can read.
"""

from __future__ import annotations

import os
import posixpath
import stat

from yarl import URL

from artifacts.errors import PictureError
from artifacts.schema import Reason
from artifacts.storage import Folder
from jobs.catalog.local_pictures import WEB_SCHEMES, LocalPictures, depends_on_folder, url_scheme
from jobs.download.addresses import parse_url


class CatalogFolder:
    """The folder that a catalog's relative picture paths are resolved against.

    Args:
        base: a path, an fsspec URL or an http(s) URL; None if the catalog has no folder (a database).
    """

    def __init__(self, base: str | None) -> None:
        self.base = base
        self._web = parse_url(base.rstrip("/") + "/") if base and url_scheme(base) in WEB_SCHEMES else None
        self._folder = Folder(base) if base and self._web is None else None
        self._local = LocalPictures(base)

    def depends(self, url: str) -> bool:
        """Return whether `url` is resolved against this folder: true for all but absolute http and https URLs."""
        return depends_on_folder(url)

    def is_web(self, url: str) -> bool:
        """Return whether a picture is fetched over HTTP, if its URL is valid."""
        return not self.depends(url) or (self._web is not None and not url_scheme(url))

    def web_url(self, url: str) -> URL | None:
        """Return the URL to download, or None if the picture is a file.

        Raises:
            PictureError: BAD_URL.
        """
        if not self.is_web(url):
            return None
        return parse_url(url, self._web if self.depends(url) else None)

    def stamp(self, url: str) -> str | None:
        """Return a text that changes with the local file, "<size in bytes>:<mtime in ns>"; None if it is not local."""
        return self._local.stamp(url)

    def read(self, url: str, max_bytes: int) -> bytes:
        """Return the content of a picture that is a file, of at most `max_bytes`.

        Raises:
            PictureError: BAD_URL, OUTSIDE_CATALOG, FILE_NOT_FOUND, TOO_MANY_BYTES, or CONNECTION_FAILED if a remote
                folder does not answer.
        """
        if not url:
            raise PictureError(Reason.BAD_URL, "empty")
        if "\0" in url:
            raise PictureError(Reason.BAD_URL, "the path contains a NUL character")
        if self._local.root is not None:
            try:
                return _read_file(self._local.resolve(url), max_bytes)
            except (OSError, UnicodeError) as error:  # UnicodeError: the name cannot be encoded, so no file has it
                raise _not_found(error) from None
        return self._read_remote(url, max_bytes)

    def _read_remote(self, url: str, max_bytes: int) -> bytes:
        folder = self._folder
        if folder is None:
            if scheme := url_scheme(url):
                raise PictureError(Reason.BAD_URL, f"{scheme[:20]}: URLs are not fetched")
            raise PictureError(Reason.OUTSIDE_CATALOG, "the catalog has no folder that files could be in")
        name = url.removeprefix(f"{folder.url}/")
        if (scheme := url_scheme(name)) and scheme != url_scheme(folder.url):
            raise PictureError(Reason.BAD_URL, f"{scheme[:20]}: URLs are not fetched")
        name = posixpath.normpath(name)
        if url_scheme(name) or name.startswith(("/", "../")) or name in ("..", "."):
            raise PictureError(Reason.OUTSIDE_CATALOG, "the file is outside the catalog's folder")
        try:
            info = folder.info(name)
            if info.get("type") == "directory":
                raise PictureError(Reason.FILE_NOT_FOUND, "a folder, not a file")
            _check_size(info.get("size") or 0, max_bytes)
            with folder.open(name) as file:
                content = file.read(max_bytes + 1)
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise _not_found(error) from None
        except OSError as error:
            raise PictureError(Reason.CONNECTION_FAILED, f"{folder.url}: {error}"[:200]) from None
        _check_size(len(content), max_bytes)
        return content


def _not_found(error: OSError | UnicodeError) -> PictureError:
    detail = (isinstance(error, OSError) and error.strerror) or "No such file or directory"
    return PictureError(Reason.FILE_NOT_FOUND, detail)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise PictureError(Reason.TOO_MANY_BYTES, f"more than {max_bytes} bytes")


def _read_file(path: str, max_bytes: int) -> bytes:
    """Return the content of a regular file. Nothing else is opened: a pipe would block, a device may have effects."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise PictureError(Reason.FILE_NOT_FOUND, "not a regular file")
    # The file can be replaced between lstat and open: a link is then not followed, and a pipe does not block.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(Reason.FILE_NOT_FOUND, "not a regular file")
        _check_size(status.st_size, max_bytes)
        content = file.read(max_bytes + 1)
    _check_size(len(content), max_bytes)
    return content
