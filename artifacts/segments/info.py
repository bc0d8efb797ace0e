"""The description of a segment, segment.json, and the check of a segment's files against it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from artifacts.errors import CorruptFile, IncompatibleRelease
from artifacts.schema import FORMAT_VERSION
from artifacts.storage import sha256_of

INFO_FILE = "segment.json"
VECTORS_FILE = "vectors.f16"
LISTS_FILE = "lists.i32"
TOMBSTONES_FILE = "tombstones.json"  # JSON, since an id may hold any character, line breaks too

#: hashlib lets go of the GIL: four threads read as fast as most disks give.
VERIFY_THREADS = 4


class FileInfo(BaseModel):
    """Size and digest of one file, checked before it is mapped."""

    bytes: int
    sha256: str


class IndexInfo(BaseModel):
    """How a segment's index was made."""

    codec: str
    factory: str
    lists: int = 0
    train_rows: int = 0  # drawn at random with `seed`
    seed: int = 0
    files: int = 1


class SegmentInfo(BaseModel):
    """What segment.json holds."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT_VERSION
    id: str
    rows: int  # pictures
    products: int
    max_pictures: int  # of one product
    dim: int
    metric: str = "inner_product"
    encoder_id: str
    index: IndexInfo
    columns: dict[str, str] = Field(default_factory=dict)  # of the product rows: name -> Arrow type
    tombstones: int = 0
    inputs: str = ""  # fingerprint of what it was made from
    files: dict[str, FileInfo] = Field(default_factory=dict)


def read_info(folder: Path) -> SegmentInfo:
    """segment.json of a folder.

    Raises:
        CorruptFile: it is missing or unreadable.
        IncompatibleRelease: it is of another format.
    """
    path = folder / INFO_FILE
    try:
        content = json.loads(path.read_bytes())
        # Another format may have other fields: look at this one first.
        if isinstance(content, dict) and content.get("format") not in (None, FORMAT_VERSION):
            raise IncompatibleRelease(f"{path}: format {content['format']}; this build reads format {FORMAT_VERSION}")
        return SegmentInfo.model_validate(content)
    except FileNotFoundError:
        raise CorruptFile(str(path), "is missing") from None
    except ValueError as error:
        raise CorruptFile(str(path), f"is not a segment's description: {error}") from error


def verify_segment(folder: Path, *, threads: int = VERIFY_THREADS) -> SegmentInfo:
    """Check every file of a segment against segment.json: present, of its size, of its sha256.

    Raises:
        CorruptFile: names the first file that differs.
    """
    info = read_info(folder)
    with ThreadPoolExecutor(threads, "verify") as pool:
        for _ in pool.map(lambda item: _verify_file(folder / item[0], item[1]), info.files.items()):
            pass
    return info


def sha256_of_info(folder: Path) -> str:
    """Digest of a segment's segment.json.

    Raises:
        CorruptFile: there is none.
    """
    path = folder / INFO_FILE
    if not path.is_file():
        raise CorruptFile(str(path), "is missing")
    return sha256_of(path)


def _verify_file(path: Path, expected: FileInfo) -> None:
    if not path.is_file():
        raise CorruptFile(str(path), "is missing")
    size = path.stat().st_size
    if size != expected.bytes:
        raise CorruptFile(str(path), f"is {size} bytes long, not {expected.bytes}")
    if sha256_of(path) != expected.sha256:
        raise CorruptFile(str(path), "its content differs from its sha256")
