"""The description of a segment, segment.json, and the verification of a segment's files against it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from artifacts.engines.reference import EngineRef, renamed
from artifacts.errors import CorruptFile
from artifacts.schema import FORMAT_VERSION
from artifacts.storage import sha256_of
from artifacts.versioned_json import parse_description

INFO_FILE = "segment.json"
# in every part
VECTORS_FILE = "vectors.f16"
INDEX_FILE = "index.faiss"
LISTS_FILE = "lists.i32"
# in the segment
QUANTIZER_FILE = "quantizer.faiss"
SIMILARITY_FILE = "similarity.f32"
STATE_FILE = "state.parquet"
# only in a delta
DELETED_FILE = "deleted.bits"
UPDATES_FILE = "updates.arrow"

#: hashlib releases the GIL: four threads read as fast as most disks deliver.
VERIFY_THREADS = 4


class FileInfo(BaseModel):
    """Size and digest of one file, verified before it is mapped."""

    bytes: int
    sha256: str


class IndexInfo(BaseModel):
    """How a segment's index was built."""

    codec: str  # "engine" where an engine finds the candidates
    factory: str  # for FAISS; the kind of the engine
    lists: int = 0
    train_rows: int = 0  # drawn at random with `seed`
    seed: int = 0
    files: int = Field(default=1, exclude=True)  # of formats 1 and 2, which had no parts
    # Mean cosine of rows with the centroids of their lists: of those that the lists were trained for, and of this
    # segment's. It falls as new products come to lie where no list was trained.
    trained_similarity: float | None = None
    centroid_similarity: float | None = None


class PartInfo(BaseModel):
    """A part of a segment, in a folder of its own: its rows follow those of the part before."""

    model_config = ConfigDict(frozen=True)

    rows: int


class BaseRef(BaseModel):
    """The base that a delta belongs to, and how many of its rows the delta speaks for."""

    model_config = ConfigDict(frozen=True)

    id: str
    info_sha256: str
    deleted_rows: int  # rows of products that are gone, or that are in the delta
    deleted_products: int
    updated_rows: int  # rows of products whose attributes the delta has


class SegmentInfo(BaseModel):
    """The content of segment.json. Counts are of the segment's own rows."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT_VERSION
    id: str
    rows: int  # pictures
    products: int
    max_pictures: int  # of one product
    dim: int
    metric: str = "inner_product"
    encoder_id: str
    parts: list[PartInfo] = Field(default_factory=list)  # formats 1 and 2 have none
    index: IndexInfo
    engine: EngineRef | None = None  # finds candidates in place of index files
    columns: dict[str, str] = Field(default_factory=dict)  # of the product rows: name -> Arrow type
    base: BaseRef | None = None  # of a delta
    tombstones: int = Field(default=0, exclude=True)  # of format 1: a segment that has some is no longer read
    inputs: str = ""  # fingerprint of the inputs it was built from
    files: dict[str, FileInfo] = Field(default_factory=dict)  # by path within the segment's folder

    def engine_for(self, segment_id: str) -> EngineRef | None:
        """Return the entry for the engine of a segment that continues this one; None if this one has none."""
        return self.engine and self.engine.model_copy(update={"name": renamed(self.engine.name, segment_id)})

    def needed_files(self, *, to_serve: bool) -> dict[str, FileInfo]:
        """Return the files that a process needs: to serve searches, not the vectors if the engine has them."""
        if not to_serve or self.engine is None or self.engine.vectors == "server":
            return self.files
        vectors = set(self.paths(VECTORS_FILE))
        return {path: file for path, file in self.files.items() if path not in vectors}

    @property
    def part_rows(self) -> list[int]:
        """The number of rows of each part; a segment without parts is one."""
        return [part.rows for part in self.parts] or [self.rows]

    def paths(self, name: str) -> list[str]:
        """Return the path of a file of each part within the segment's folder."""
        return [f"{part_name(number)}/{name}" for number in range(len(self.parts))] or [name]

    @property
    def index_paths(self) -> list[str]:
        """The paths of the index's files within the segment's folder."""
        if self.parts:
            return self.paths(INDEX_FILE)
        return [f"index-{number:05d}.faiss" for number in range(self.index.files)]


def part_name(number: int) -> str:
    """Return the name of a part's folder, numbered from 0."""
    return f"part-{number:05d}"


def read_info(folder: Path) -> SegmentInfo:
    """Read the segment.json of a folder.

    Raises:
        CorruptFile: it is missing or unreadable.
        IncompatibleRelease: it is in another format.
    """
    path = folder / INFO_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CorruptFile(str(path), "is missing") from None
    return parse_description(SegmentInfo, content, str(path), "segment's description")


def totals(infos: Sequence[SegmentInfo]) -> tuple[int, int]:
    """Return the numbers of products and of pictures that can be found in a base and its delta."""
    products, pictures = infos[0].products, infos[0].rows
    for info in infos[1:]:
        if info.base is not None:
            products += info.products - info.base.deleted_products
            pictures += info.rows - info.base.deleted_rows
    return products, pictures


def delta_share(infos: Sequence[SegmentInfo]) -> float:
    """Return the rows that a delta has, or of its base that it speaks for, as a share of the base's; 0 without one."""
    changes = [info.rows + info.base.deleted_rows + info.base.updated_rows for info in infos if info.base]
    return sum(changes) / max(1, infos[0].rows)


def quantizer_drift(infos: Sequence[SegmentInfo]) -> float | None:
    """Return how far the rows have moved away from the lists that were trained, 0 to 1; None for a flat index.

    That is 1 - c / t: c is the mean cosine of the rows with the centroids of their lists, now, and t when the lists
    were trained. Products of a kind that the lists were not trained on lie between their centroids; recall falls, or
    takes more probes, until a rebuild trains anew.

    Args:
        infos: of a base and its delta.
    """
    trained = infos[0].index.trained_similarity
    known = [
        (info.index.centroid_similarity, info.rows) for info in infos if info.index.centroid_similarity is not None
    ]
    rows = sum(count for _, count in known)
    if not trained or not rows:
        return None
    now = sum(similarity * count for similarity, count in known) / rows
    return max(0.0, 1 - now / trained)


def verify_segment(folder: Path, *, threads: int = VERIFY_THREADS, to_serve: bool = False) -> SegmentInfo:
    """Verify every file of a segment against segment.json: it exists, and its size and sha256 are right.

    Args:
        to_serve: only the files that a server needs.
        threads: number of files read at the same time.

    Raises:
        CorruptFile: names the first file that differs.
        IncompatibleRelease: segment.json is in another format.
    """
    info = read_info(folder)
    files = info.needed_files(to_serve=to_serve)
    with ThreadPoolExecutor(threads, "verify") as pool:
        for _ in pool.map(lambda item: _verify_file(folder / item[0], item[1]), files.items()):
            pass
    return info


def sha256_of_info(folder: Path) -> str:
    """Return the sha256 of a segment's segment.json, which covers the digests of all its files.

    Raises:
        CorruptFile: segment.json is missing.
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
        raise CorruptFile(str(path), f"its content does not have the sha256 that {INFO_FILE} names")
