"""A shard's products, pictures and vectors, written as the steps before the index leave them, and joined to a part."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from artifacts.schema import IMAGES, OK, STATE, Reason, attributes_of, catalog_schema, embeddings_schema, segment_schema
from artifacts.segments.part_writer import PartWriter
from jobs.bench.build.worker import measured, processes
from jobs.catalog.shards import open_products
from jobs.index.join import Tally, add_shard
from jobs.index.plan import IndexPlan
from jobs.workspace.shards import shard_name
from jobs.workspace.workspace import Workspace

DIM = 8
READ_AT = datetime(2026, 11, 5, tzinfo=UTC)
SIDE = 12


@dataclass
class DrawnShard:
    """Rows of the three files, as dictionaries; each sorted as its file is."""

    products: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    vectors: dict[str, np.ndarray | None] = field(default_factory=dict)  # by sha256; None: BAD_EMBEDDING

    def write(self, folder: Path, *, images: pa.Schema = IMAGES) -> Workspace:
        """Write a workspace of this one shard, in row groups of different sizes."""
        workspace = Workspace.open(str(folder / "workspace"), 1)
        catalog = pa.Table.from_pylist(self.products, schema=catalog_schema({"color": pa.string()}))
        keys = list(self.vectors)
        bad = [self.vectors[key] is None for key in keys]
        values = np.concatenate([np.zeros(0, np.float16), *(np.zeros(DIM, np.float16) if vector is None else vector
                                                            for vector in self.vectors.values())])  # fmt: skip
        columns = [
            pa.array(keys, pa.string()),
            pa.array([Reason.BAD_EMBEDDING.value if is_bad else OK for is_bad in bad], pa.string()),
            pa.FixedSizeListArray.from_arrays(pa.array(values), DIM, mask=pa.array(bad, pa.bool_())),
        ]
        embeddings = pa.Table.from_arrays(
            [column.cast(type_) for column, type_ in zip(columns, embeddings_schema(DIM).types, strict=True)],
            schema=embeddings_schema(DIM),
        )
        for shards, table, group_rows in (
            (workspace.catalog, catalog, 1000),
            (workspace.images, pa.Table.from_pylist(self.pictures, schema=images), 256),
            (workspace.embeddings("drawn"), embeddings, 700),
        ):
            with shards.folder.writing(shard_name(0)) as path:
                pq.write_table(table, path, row_group_size=group_rows)
        return workspace


def draw_shard(products: int, seed: int) -> DrawnShard:
    """Draw products of 1 to 3 pictures, a few of many; of web and local pictures that are good, failed, or repeated."""
    random = np.random.default_rng(seed)
    jpegs = [_jpeg(random) for _ in range(40)]
    shard = DrawnShard()
    for number in range(products):
        product_id = f"p{number:06d}"
        count = int(random.choice([1, 2, 3, 900], p=[0.6, 0.25, 0.147, 0.003]))
        is_local = random.random() < (0.5 if number < products // 2 else 0)
        failing = random.choice([0.0, 0.4, 1.0], p=[0.8, 0.1, 0.1])
        changed = READ_AT - timedelta(days=number) if number % 2 else None
        color = random.choice(["red", "blue"])
        shard.products.append(
            {"product_id": product_id, "title": f"Product {number}", "price": float(number), "color": str(color),
             "updated_at": changed, "attributes_digest": int(random.integers(2**63))}
        )  # fmt: skip
        for picture in range(count):
            row: dict[str, Any] = {"product_id": product_id, "picture": picture}
            row["url"] = ("images/" if is_local else "HTTPS://shop.example/") + f"{number}-{picture}.jpg"
            row["stamp"] = f"{number}-1" if is_local else None
            if random.random() < failing:
                reason = random.choice([Reason.TIMEOUT.value, Reason.TOO_SMALL.value])
                row |= {"status": str(reason), "detail": f"picture {picture} failed"}
            else:
                jpeg = jpegs[random.integers(40)] + bytes(random.integers(0, 256, random.integers(2), np.uint8))
                row |= {"status": OK, "jpeg": jpeg, "sha256": hashlib.sha256(jpeg).hexdigest()}
            shard.pictures.append(row)
    keys = sorted({row["sha256"] for row in shard.pictures if row["status"] == OK})
    for key in keys:
        vector = random.standard_normal(DIM)
        shard.vectors[key] = None if random.random() < 0.1 else (vector / np.linalg.norm(vector)).astype(np.float16)
    return shard


def _jpeg(random: np.random.Generator) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(file, "jpeg")
    return file.getvalue()


@dataclass
class Joined:
    """What `add_shard` has written."""

    folder: Path
    vectors: np.ndarray  # mapped
    state_path: Path
    tally: Tally

    @property
    def state(self) -> pa.Table:
        return pq.read_table(self.state_path)


def join(workspace: Workspace, folder: Path, *, slug: str = "drawn", dim: int = DIM, first_row: int = 0) -> Joined:
    """Write a part of the workspace's shard 0."""
    plan = IndexPlan("", READ_AT, "segment", slug, slug, dim, 0, "flat", "")
    with open_products(workspace, 0) as file:
        schema = segment_schema(attributes_of(pq.read_schema(file)))
    writer, tally = PartWriter(folder / "part", dim, schema, first_row), Tally()
    with pq.ParquetWriter(folder / "state.parquet", STATE) as state_writer:
        add_shard(
            workspace, 0, plan, writer, state_writer, tally,
            schema=schema, thumbnail_side=SIDE, read_at=READ_AT, threads=2,
        )  # fmt: skip
    writer.close()
    return Joined(writer.folder, writer.vectors(), folder / "state.parquet", tally)


def peak_mb_of_join(workspace: Workspace, folder: Path, *, slug: str = "drawn", dim: int = DIM) -> float:
    """Return the peak memory of a process that writes a part of the workspace's shard 0."""
    with processes(1) as pool:
        return pool.submit(measured, _join, workspace, folder, slug, dim).result()[1].peak_mb


def _join(workspace: Workspace, folder: Path, slug: str, dim: int) -> int:
    return join(workspace, folder, slug=slug, dim=dim).tally.indexed
