"""A segment: an immutable set of indexed pictures with their vectors, index and product rows, in one folder.

    segment.json         SegmentInfo: counts, encoder, index, sha256 and size of every other file
    vectors.f16          float16[rows, dim], L2-normalised, row-major: exact scores
    index-00000.faiss …  IVF files with row numbers as ids; or one flat file
    lists.i32            int32[rows]: the IVF list of each row (not for flat)
    products.arrow       product rows in row order: to show
    products.duckdb      the same rows: to filter and count, and product_id -> rows
    thumbnails.parquet   only where pictures have no public URL
    tombstones.txt       ids of products deleted from older segments, one a line; only where there are any

Whoever writes a segment and whoever searches it use these same classes, so what the gate measures is what is served.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from artifacts.errors import CorruptFile, IncompatibleRelease
from artifacts.index import FlatIndex, IvfIndex, SearchParams
from artifacts.products import Products
from artifacts.schema import FORMAT_VERSION
from artifacts.storage import sha256_of
from artifacts.thumbnails import THUMBNAILS_FILE, Thumbnails
from artifacts.vectors import Vectors

INFO_FILE = "segment.json"
VECTORS_FILE = "vectors.f16"
LISTS_FILE = "lists.i32"
TOMBSTONES_FILE = "tombstones.txt"

#: Up to so many allowed rows are scored one by one: cheaper than probing, and exact (10,000 rows of 512-d: 4-8 ms).
EXACT_ROWS = 20_000

#: Up to so many queries are scored one after the other when the search is exact.
_FEW_QUERIES = 4

#: A filtered search probes so many times the lists of an unfiltered one: the nearest allowed rows lie further out.
FILTERED_PROBES = 4


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


@dataclass(frozen=True)
class Allowed:
    """The rows of a segment that a search may return, in the forms that its paths want.

    Attributes:
        rows: int64, ascending.
        bitmap: uint8, one bit a row of the segment, little-endian.
        rows_per_list: int64[lists], of `rows`; None for a flat index.
    """

    rows: np.ndarray
    bitmap: np.ndarray
    rows_per_list: np.ndarray | None


@dataclass(frozen=True)
class Plan:
    """How a search was done, for `explain`."""

    path: str  # nothing | flat | exact | ivf
    allowed: int  # rows that it could return
    probes: int = 0  # IVF lists probed for each query
    candidates: int = 0  # rows scored exactly, over all queries


@dataclass(frozen=True)
class Found:
    """The best rows for one query: scores float32[j] descending, rows int64[j]; equal scores by ascending row."""

    scores: np.ndarray
    rows: np.ndarray


class Segment:
    """An open segment. Searching is safe from several threads at once.

    Args:
        folder: on this machine.
        verify: check every file's size and sha256 first. Only a caller that has just done so may say no: FAISS loads
            damaged files without a word, and a file shorter than its mapping kills the process.
        threads: threads of one SQL statement.

    Raises:
        CorruptFile: a file is missing or differs from segment.json.
        IncompatibleRelease: written in another format.
    """

    def __init__(self, folder: Path, *, verify: bool = True, threads: int = 1) -> None:
        self.folder = folder
        self.info = verify_segment(folder) if verify else read_info(folder)
        rows = self.info.rows
        self.vectors = Vectors(folder / VECTORS_FILE, rows, self.info.dim)
        self.products = Products(folder, threads=threads)
        if self.products.rows != rows:
            raise CorruptFile(str(folder / INFO_FILE), f"{rows} rows, but {self.products.rows} product rows")
        files = [folder / f"index-{number:05d}.faiss" for number in range(self.info.index.files)]
        self.flat = FlatIndex(files[0]) if self.info.index.codec == "flat" else None
        self.ivf = None if self.flat else IvfIndex(files)
        self.lists = None if self.flat else np.memmap(folder / LISTS_FILE, np.int32, "r", shape=(rows,))
        self.thumbnails = Thumbnails(folder / THUMBNAILS_FILE) if THUMBNAILS_FILE in self.info.files else None

    def close(self) -> None:
        self.products.close()
        if self.thumbnails:
            self.thumbnails.close()

    @cached_property
    def tombstones(self) -> list[str]:
        """Ids of products that this segment deletes from older ones."""
        if not self.info.tombstones:
            return []
        return (self.folder / TOMBSTONES_FILE).read_text().splitlines()

    def allow(self, rows: np.ndarray) -> Allowed:
        """Prepare int64 row numbers, ascending, for `search`."""
        mask = np.zeros(self.info.rows, bool)
        mask[rows] = True
        per_list = None
        if self.ivf is not None and self.lists is not None:
            per_list = np.bincount(self.lists[rows], minlength=self.ivf.lists)
        return Allowed(rows, np.packbits(mask, bitorder="little"), per_list)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        allowed: Allowed | None = None,
        *,
        exact: bool = False,
    ) -> tuple[list[Found], Plan]:
        """The best `k` rows for each query, by exact score.

        Args:
            queries: float32[n, dim], L2-normalised.
            allowed: only these rows; all if None. min(k, allowed rows) are returned, however few these are.
            exact: score every allowed row, whatever it costs.
        """
        total = self.info.rows if allowed is None else len(allowed.rows)
        k = min(k, total)
        if k == 0:
            nothing = Found(np.empty(0, np.float32), np.empty(0, np.int64))
            return [nothing for _ in queries], Plan("nothing", total)
        if self.flat is not None and (allowed is None or total > EXACT_ROWS):
            scores, rows = self.flat.search(queries, k, None if allowed is None else allowed.bitmap)
            return [_by_score(*pair) for pair in zip(scores, rows, strict=True)], Plan("flat", total)
        if exact or self.flat is not None or (allowed is not None and total <= EXACT_ROWS):
            found = self._search_exactly(queries, k, None if allowed is None else allowed.rows)
            return found, Plan("exact", total, candidates=total * len(queries))
        return self._search_ivf(queries, k, params, allowed, total)

    def _search_exactly(self, queries: np.ndarray, k: int, rows: np.ndarray | None) -> list[Found]:
        if len(queries) <= _FEW_QUERIES:
            rows = np.arange(self.info.rows) if rows is None else rows
            return [Found(*self.vectors.score(query, rows, k)) for query in queries]
        # Matrix products read the vectors once for all queries; a few rows more, since the last bit may differ.
        total = self.info.rows if rows is None else len(rows)
        _, nearest = self.vectors.knn(queries, min(total, k + 10), rows)
        return [Found(*self.vectors.score(*pair, k)) for pair in zip(queries, nearest, strict=True)]

    def _search_ivf(
        self, queries: np.ndarray, k: int, params: SearchParams, allowed: Allowed | None, total: int
    ) -> tuple[list[Found], Plan]:
        assert self.ivf is not None  # noqa: S101  (a segment is flat or IVF)
        bitmap, per_list = (None, None) if allowed is None else (allowed.bitmap, allowed.rows_per_list)
        useful = self.ivf.lists if per_list is None else int((per_list > 0).sum())
        probes = min(useful, params.nprobe * (1 if allowed is None else FILTERED_PROBES))
        while True:
            candidates = self.ivf.candidates(
                queries, min(total, k * params.rescore), probes, bitmap=bitmap, rows_per_list=per_list
            )
            found = [Found(*self.vectors.score(query, rows[rows >= 0], k)) for query, rows in
                     zip(queries, candidates, strict=True)]  # fmt: skip
            if probes >= useful or min(len(each.rows) for each in found) >= k:
                return found, Plan("ivf", total, probes, int((candidates >= 0).sum()))
            # Too few allowed rows in the nearest lists: look further until there are enough or no list is left.
            probes = min(useful, probes * 4)


def _by_score(scores: np.ndarray, rows: np.ndarray) -> Found:
    order = np.lexsort((rows, -scores))
    return Found(scores[order], rows[order])


def read_info(folder: Path) -> SegmentInfo:
    """segment.json of a folder.

    Raises:
        CorruptFile: it is missing or unreadable.
        IncompatibleRelease: it is of another format.
    """
    path = folder / INFO_FILE
    try:
        info = SegmentInfo.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise CorruptFile(str(path), "is missing") from None
    except ValueError as error:
        raise CorruptFile(str(path), f"is not a segment's description: {error}") from error
    if info.format != FORMAT_VERSION:
        raise IncompatibleRelease(f"{path}: format {info.format}; this build reads format {FORMAT_VERSION}")
    return info


def verify_segment(folder: Path) -> SegmentInfo:
    """Check every file of a segment against segment.json: present, of its size, of its sha256.

    Raises:
        CorruptFile: names the first file that differs.
    """
    info = read_info(folder)
    # hashlib lets go of the GIL: four threads read as fast as most disks give.
    with ThreadPoolExecutor(4, "verify") as pool:
        for _ in pool.map(lambda item: _verify_file(folder / item[0], item[1]), info.files.items()):
            pass
    return info


def _verify_file(path: Path, expected: FileInfo) -> None:
    if not path.is_file():
        raise CorruptFile(str(path), "is missing")
    size = path.stat().st_size
    if size != expected.bytes:
        raise CorruptFile(str(path), f"is {size} bytes long, not {expected.bytes}")
    if sha256_of(path) != expected.sha256:
        raise CorruptFile(str(path), "its content differs from its sha256")
