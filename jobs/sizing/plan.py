"""A sizing: what a catalog takes to build and to serve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from artifacts.config import IndexConfig
from artifacts.errors import InputError
from artifacts.index.choosing import IndexChoice, choose
from artifacts.index.params import code_size
from jobs.sizing.measured import Measured, bundled_points
from jobs.sizing.model import Index, Model, Search

#: Share of a server's cores that are busy at the load that it is meant for: beyond it, queues grow fast.
BUSY_SHARE = 0.6
#: Core time of a search through HTTP beside the index: parsing, filters, product rows, ranking, JSON. Measured by
#: `lookalike bench serve`, see docs/benchmarks.md.
HTTP_CORE_MS = 3.0
#: Core time of encoding a query on a CPU with ViT-B-32: a text of few words, in bfloat16; a picture. Measured by
#: `lookalike bench texts`, see docs/benchmarks.md.
ENCODE_CORE_MS = {"text": 24.0, "image": 135.0}
#: Bytes of a picture in the workspace: a JPEG of `picture_side` 512.
PICTURE_BYTES = 40_000
#: Bytes of a vector in the workspace beside its numbers: the sha256 of its picture.
_KEY_BYTES = 70
#: Versions of a release that a server has on its disk while it takes over a new base.
_BASES_ON_DISK = 2


@dataclass(frozen=True)
class Demand:
    """What is to be sized.

    Attributes:
        products: in the catalog.
        pictures: of a product, on average.
        dim: length of a vector.
        qps: searches a second, of all replicas.
        text_share: of the searches, those by text; the others are by picture.
        cores: of a server.
        build_cores: that build the index.
        gpus: that embed, or encode queries; 0 for the CPU.
        pictures_per_second: that one GPU embeds; 0 if it is not known.
    """

    products: int
    pictures: float = 1.0
    dim: int = 512
    qps: float = 100.0
    text_share: float = 0.7
    cores: int = 16
    build_cores: int = 64
    gpus: int = 0
    pictures_per_second: float = 0.0


@dataclass(frozen=True)
class SearchPlan:
    """Searches of one modality."""

    modality: str
    depth: Search
    index_core_ms: float
    encode_core_ms: float

    @property
    def core_ms(self) -> float:
        return self.index_core_ms + HTTP_CORE_MS + self.encode_core_ms


@dataclass(frozen=True)
class Sizing:
    """What a demand takes; bytes are of one copy."""

    demand: Demand
    rows: int
    choice: IndexChoice
    segment_bytes: float
    workspace_bytes: float
    parts: int
    part_memory_bytes: float
    train_memory_bytes: float
    train_core_hours: float
    parts_core_hours: float
    seal_core_hours: float
    embed_hours: float | None  # None: not known
    searches: list[SearchPlan]
    core_ms: float  # of a search, by the shares of the modalities
    replicas: int

    @property
    def index_hours(self) -> float:
        """Wall time of the index: training uses the cores of one machine, parts all, the seal one core."""
        machine = min(self.demand.cores, self.demand.build_cores)
        tasks = min(self.parts, self.demand.build_cores)
        return self.train_core_hours / machine + self.parts_core_hours / tasks + self.seal_core_hours

    @property
    def server_disk_bytes(self) -> float:
        return _BASES_ON_DISK * self.segment_bytes


def sizing_of(demand: Demand, config: IndexConfig, points: Sequence[Measured] = ()) -> Sizing:
    """Size a demand.

    Args:
        config: how the index is built.
        points: measurements of the own machine, in place of the bundled ones.

    Raises:
        InputError: the index cannot be built as configured, or there are too few measurements of its codec.
    """
    rows = round(demand.products * demand.pictures)
    choice = choose(rows, demand.dim, config)
    if not choice.lists:
        raise InputError(
            f"{rows:,} rows have a {choice.codec} index, which is exact and small: there is nothing to size"
        )
    model = Model(points_of(choice.codec, points), code_size)
    index = Index(rows, demand.dim, choice.lists, choice.code_size, choice.train_rows)
    searches = [
        SearchPlan(
            modality=name,
            depth=(depth := model.depth(name, index)),
            index_core_ms=model.search_core_ms(index, depth),
            encode_core_ms=0.0 if demand.gpus else ENCODE_CORE_MS[name],
        )
        for name in model.modalities
    ]
    shares = {"text": demand.text_share, "image": 1 - demand.text_share}
    core_ms = sum(search.core_ms * shares[search.modality] for search in searches)
    rows_per_part = min(rows, config.rows_per_index)
    embed = rows / (demand.gpus * demand.pictures_per_second) if demand.gpus and demand.pictures_per_second else None
    return Sizing(
        demand=demand,
        rows=rows,
        choice=choice,
        segment_bytes=model.disk_bytes(index, choice.resident_bytes),
        workspace_bytes=rows * (2 * demand.dim + _KEY_BYTES + PICTURE_BYTES),
        parts=-(-rows // rows_per_part),
        part_memory_bytes=part_memory(rows_per_part, demand.dim, choice),
        train_memory_bytes=4.0 * demand.dim * (choice.train_rows + choice.lists),
        train_core_hours=model.train_core_seconds(index) / 3600,
        parts_core_hours=model.parts_core_seconds(index) / 3600,
        seal_core_hours=model.seal_core_seconds(index) / 3600,
        embed_hours=None if embed is None else embed / 3600,
        searches=searches,
        core_ms=core_ms,
        replicas=max(1, math.ceil(demand.qps * core_ms / 1000 / BUSY_SHARE / demand.cores)) + 1,
    )


def part_memory(rows: int, dim: int, choice: IndexChoice) -> float:
    """Return the bytes that a task needs for a part: its codes and ids, its centroids, and blocks of vectors.

    Args:
        rows: of the part.
    """
    block = 131_072 * dim * 4 * 2  # artifacts.segments.index_writer: a block as float32, and its residuals
    program = 150e6
    return rows * (choice.code_size + 8) + 2.0 * choice.lists * dim * 4 + min(block, rows * dim * 8) + program


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
    """Return the second largest of several points, and a model that was fitted to the others: its error is stated.

    Raises:
        InputError: there are fewer than three points.
    """
    ordered = sorted(points, key=lambda point: point.rows)
    if len(ordered) < 3:
        raise InputError("to leave one out takes three measurements")
    chosen = ordered[-2]
    return chosen, Model([point for point in ordered if point is not chosen], code_size)
