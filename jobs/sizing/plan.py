"""A sizing: what a catalog takes to build and to serve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from artifacts.config import IndexConfig
from artifacts.errors import InputError
from artifacts.index.choosing import IndexChoice, choose
from artifacts.index.params import BLOCK_ROWS
from artifacts.segments.index_writer import rows_per_part
from jobs.index.plan import split_parts
from jobs.sizing.measured import Measured, bundled_points
from jobs.sizing.model import Index, Model, Search

#: Share of a server's cores that are busy at the load that it is meant for: beyond it, p99 rises above 200 ms. This and
#: the times of HTTP and of a text are from docs/benchmarks.md.
BUSY_SHARE = 0.5
#: Core time of a search through HTTP beside the index: filters, product rows, ranking, JSON.
HTTP_CORE_MS = 2.4
#: Core time of encoding a query alone with a model of ViT-B-32's size: a text in bfloat16, a picture in float32.
ENCODE_CORE_MS = {"text": 28.0, "image": 135.0}
#: Memory of a server's worker of its own, with this model; there is one for each core.
WORKER_BYTES = 1.2e9
#: Core time of the gate's ground truth for each number of the stored vectors: reading and decoding it and applying
#: filters, on one core, and its product with one query, on all cores; see docs/benchmarks.md.
TRUTH_CORE_NS, TRUTH_QUERY_CORE_NS = 2.6, 0.022
#: Queries of each modality under each filter, and the shares of the rows that the gate's filters allow, added up.
_FILTERED_QUERIES, _FILTER_SHARES, _MODALITIES = 100, 2.0, 2
#: Memory of the gate while it prepares its widest filter, for each row: 8 bytes for every row of a half, a mask, and
#: bits of a dozen filters.
_FILTER_ROW_BYTES = 6.5
#: Assumed bytes of a picture in the workspace: a JPEG of `picture_side` 512.
PICTURE_BYTES = 40_000
#: Bytes of a vector in the workspace beside its numbers: the sha256 of its picture.
_KEY_BYTES = 70
#: Versions of a release that a server has on its disk while it takes over a new base.
_BASES_ON_DISK = 2
#: A part is of whole shards, and a shard is read by one task: with so many to a part, parts are nearly of equal size.
_SHARDS_PER_PART = 4


@dataclass(frozen=True)
class Demand:
    """What is to be sized.

    Attributes:
        products: in the catalog.
        pictures: of a product, on average.
        dim: length of a vector.
        qps: searches a second, of all replicas.
        text_share: of the searches, those by text; the others are by picture.
        cores: of a server, and of the machine that trains.
        build_cores: that write parts, one task each.
        shards: of the workspace; 0 for `shards_for`.
        gpus: that embed.
        pictures_per_second: that one GPU embeds; 0 if it is not known.
        evaluation_queries: of each modality, that the gate measures.
    """

    products: int
    pictures: float = 1.0
    dim: int = 512
    qps: float = 100.0
    text_share: float = 0.7
    cores: int = 16
    build_cores: int = 64
    shards: int = 0
    gpus: int = 0
    pictures_per_second: float = 0.0
    evaluation_queries: int = 300

    @property
    def truth_queries(self) -> float:
        """Queries of the gate that a row is compared with for ground truth, on average."""
        return _MODALITIES * (self.evaluation_queries + _FILTERED_QUERIES * _FILTER_SHARES)


@dataclass(frozen=True)
class SearchPlan:
    """Searches of one modality; times are of a core."""

    modality: str
    depth: Search
    index_ms: float
    encode_ms: float

    @property
    def core_ms(self) -> float:
        return self.index_ms + HTTP_CORE_MS + self.encode_ms


@dataclass(frozen=True)
class Sizing:
    """What a demand takes.

    Attributes:
        shards: of the workspace.
        choice: of the index.
        index: its sizes.
        tasks: that write parts at the same time.
        rounds: of tasks, until all parts are written.
        segment_bytes: of one copy.
        workspace_bytes: of pictures and vectors.
        server_memory_bytes: of the index and the workers; vectors and product rows are mapped beside it.
        server_disk_bytes: of one server.
        train_memory_bytes, part_memory_bytes, seal_memory_bytes: of the process; of each task that writes a part.
        sample_bytes: of the vectors trained on, mapped from a file.
        train_hours, parts_hours, seal_hours: of the clock.
        truth_hours: of the clock, for the gate's ground truth on a machine like a server.
        truth_memory_bytes: of the gate, of its own; it maps the vectors beside it.
        embed_hours: of the clock; None if it is not known.
        core_ms: of a search, by the shares of the modalities.
        replicas: servers, one of them spare.
    """

    demand: Demand
    shards: int
    choice: IndexChoice
    index: Index
    tasks: int
    rounds: int
    segment_bytes: float
    workspace_bytes: float
    server_memory_bytes: float
    server_disk_bytes: float
    train_memory_bytes: float
    part_memory_bytes: float
    seal_memory_bytes: float
    sample_bytes: float
    train_hours: float
    parts_hours: float
    seal_hours: float
    truth_hours: float
    truth_memory_bytes: float
    embed_hours: float | None
    searches: list[SearchPlan]
    core_ms: float
    replicas: int

    @property
    def index_hours(self) -> float:
        return self.train_hours + self.parts_hours + self.seal_hours


def sizing_of(demand: Demand, config: IndexConfig, points: Sequence[Measured] = ()) -> Sizing:
    """Size a demand.

    Args:
        config: how the index is built.
        points: measurements of the own machine, in place of the bundled ones.

    Raises:
        InputError: the index cannot be built as configured, or no measurements tell what it costs.
    """
    rows = round(demand.products * demand.pictures)
    choice = choose(rows, demand.dim, config)
    if not choice.lists:
        raise InputError(
            f"{rows:,} rows have a {choice.codec} index, which is exact and small: there is nothing to size"
        )
    model = Model(points_of(choice.codec, points))
    limit = rows_per_part(config)
    shards = demand.shards or shards_for(rows, limit or rows)
    bounds = [rows * shard // shards for shard in range(shards + 1)]
    counts = [stop - first for first, stop in pairwise(bounds)]
    parts = split_parts(counts, limit)
    index = Index(
        rows, demand.dim, choice.codec, choice.lists, choice.train_rows,
        len(parts), max(part.rows for part in parts), max(counts),
    )  # fmt: skip
    tasks = min(len(parts), demand.build_cores)
    rounds = math.ceil(len(parts) / tasks)
    searches = []
    for name in model.modalities:
        depth = model.depth(name, index)
        searches.append(SearchPlan(name, depth, model.search_core_ms((index, depth)), ENCODE_CORE_MS[name]))
    shares = {"text": demand.text_share, "image": 1 - demand.text_share}
    core_ms = sum(search.core_ms * shares[search.modality] for search in searches)
    segment = model.disk(index)
    embedded = demand.gpus * demand.pictures_per_second
    return Sizing(
        demand=demand,
        shards=shards,
        choice=choice,
        index=index,
        tasks=tasks,
        rounds=rounds,
        segment_bytes=segment,
        workspace_bytes=rows * (2.0 * demand.dim + _KEY_BYTES + PICTURE_BYTES),
        server_memory_bytes=choice.resident_bytes + demand.cores * WORKER_BYTES,
        server_disk_bytes=_BASES_ON_DISK * segment,
        train_memory_bytes=model.train_memory(index),
        part_memory_bytes=model.part_memory(index),
        seal_memory_bytes=model.seal_memory(index),
        sample_bytes=4.0 * demand.dim * choice.train_rows,
        train_hours=model.train_seconds(index, demand.cores) / 3600,
        parts_hours=rounds * model.parts_core_seconds(index) * index.part_rows / rows / 3600,
        seal_hours=model.seal_core_seconds(index) / 3600,
        truth_hours=index.numbers * _truth_ns(demand) / 1e9 / 3600,
        truth_memory_bytes=WORKER_BYTES + _FILTER_ROW_BYTES * rows + 2 * 4 * demand.dim * BLOCK_ROWS,
        embed_hours=rows / embedded / 3600 if embedded else None,
        searches=searches,
        core_ms=core_ms,
        replicas=max(1, math.ceil(demand.qps * core_ms / 1000 / BUSY_SHARE / demand.cores)) + 1,
    )


def _truth_ns(demand: Demand) -> float:
    """Return the time on the clock of ground truth, for each number of the stored vectors."""
    return TRUTH_CORE_NS + TRUTH_QUERY_CORE_NS * demand.truth_queries / demand.cores


def shards_for(rows: int, part_rows: int) -> int:
    """Return the number of shards that parts of this size ask for: a power of two, and no fewer than the default."""
    return max(16, 2 ** math.ceil(math.log2(_SHARDS_PER_PART * rows / part_rows)))


def points_of(codec: str, points: Sequence[Measured] = ()) -> list[Measured]:
    """Return the measurements of a codec: the given ones, or the bundled ones.

    Raises:
        InputError: there are fewer than two.
    """
    found = [point for point in points or bundled_points() if point.codec == codec]
    if len(found) < 2:
        raise InputError(
            f"there are {len(found)} measurements of codec {codec}: measure two or more sizes with "
            f"`lookalike bench build --codec {codec} --rows N --json FILE`, and name the files with --points"
        )
    return found


def left_out(points: Sequence[Measured]) -> tuple[Measured, Model]:
    """Return the largest of several points, and a model that was fitted to the others: its error is stated.

    Raises:
        InputError: there are fewer than three points.
    """
    if len(points) < 3:
        raise InputError("to leave one out takes three measurements")
    *fitted, largest = sorted(points, key=lambda point: (point.rows, point.lists))
    return largest, Model(fitted)
