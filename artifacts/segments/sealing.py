"""Completes a segment: digests of its files, and segment.json, which is written last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from artifacts.segments.info import INFO_FILE, FileInfo, SegmentInfo
from artifacts.storage import fsync, sha256_of


def seal_files(folder: Path, sealed: Mapping[str, FileInfo] | None = None) -> dict[str, FileInfo]:
    """Make the finished files of a folder survive a power failure, and make them read-only.

    Args:
        sealed: files for which that has been done, by path within the folder; they are not read again.

    Returns:
        Size and digest of every file in the folder and its subfolders, by path within the folder.

    Raises:
        FileNotFoundError: a sealed file is not there.
    """
    files = dict(sealed or {})
    for name in files:
        (folder / name).stat()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in files:
            files[name] = _seal(path)
    return dict(sorted(files.items()))


def seal_segment(folder: Path, info: SegmentInfo, sealed: Mapping[str, FileInfo] | None = None) -> SegmentInfo:
    """Write segment.json, with the digests of all files; the segment is complete then. Returns its content.

    Args:
        sealed: see `seal_files`.
    """
    info = info.model_copy(update={"files": seal_files(folder, sealed)})
    path = folder / INFO_FILE
    path.write_bytes(f"{info.model_dump_json(indent=1)}\n".encode())
    _seal(path)
    return info


def _seal(path: Path) -> FileInfo:
    path.chmod(0o444)
    fsync(path)
    return FileInfo(bytes=path.stat().st_size, sha256=sha256_of(path))
