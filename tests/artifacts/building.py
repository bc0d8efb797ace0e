"""Small segments, releases and manifests for the tests of artifacts/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from artifacts.engines.reference import EngineRef
from artifacts.index import planner
from artifacts.index.params import SearchParams
from artifacts.products.conform import conform
from artifacts.release.release import Release
from artifacts.schema import segment_schema
from artifacts.segments.delta_writer import DeltaWriter
from artifacts.segments.info import SegmentInfo, read_info, sha256_of_info
from artifacts.segments.segment import Segment
from artifacts.segments.writer import SegmentWriter
from artifacts.settings import Settings
from artifacts.store.manifest import Counts, Manifest, SegmentRef
from artifacts.store.store import Store

ENCODER = {"id": "toy@000000000000", "spec": "toy", "dim": 16}
DIM = 16

#: Settings under which even a small segment gets an IVF index.
INDEXED = Settings(flat_max_rows=0, train_rows_per_list=16)


def unit_vectors(rows: int, dim: int = DIM, *, seed: int = 0, clusters: int = 0) -> np.ndarray:
    """Draw float16[rows, dim], L2-normalised, around `clusters` centres if there are any."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, dim))
    if clusters:
        centres = rng.standard_normal((clusters, dim)) * 2
        vectors = centres[rng.integers(0, clusters, rows)] + 0.5 * vectors
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def queries_like(vectors: np.ndarray, count: int, *, seed: int = 1) -> np.ndarray:
    """Draw float32[count, dim], L2-normalised, each near one of the vectors."""
    rng = np.random.default_rng(seed)
    chosen = vectors[rng.integers(0, len(vectors), count)].astype(np.float32)
    noisy = chosen + rng.standard_normal(chosen.shape).astype(np.float32) * 0.05
    return noisy / np.linalg.norm(noisy, axis=1, keepdims=True)


def product_table(
    product_ids: Sequence[str],
    *,
    pictures: Sequence[int] | None = None,
    attributes: Mapping[str, pa.DataType] | None = None,
    **columns: Sequence[Any],
) -> pa.Table:
    """Make product rows in `segment_schema`; columns without values are null, pictures number 0."""
    schema = segment_schema(dict(attributes or {}))
    rows = len(product_ids)
    values: dict[str, Any] = {
        "product_id": list(product_ids),
        "picture": list(pictures) if pictures is not None else [0] * rows,
        "image_url": [f"{product_id}.jpg" for product_id in product_ids],
        **columns,
    }
    arrays = [pa.array(values.get(field.name, [None] * rows), field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def write_segment(
    folder: Path,
    vectors: np.ndarray,
    products: pa.Table | None = None,
    *,
    segment_id: str = "segment",
    settings: Settings | None = None,
    thumbnails: Sequence[bytes | None] = (),
    encoder_id: str = ENCODER["id"],  # type: ignore[assignment]
    engine: EngineRef | None = None,
) -> SegmentInfo:
    """Write a base of these rows; by default of products p0, p1, … with a price of 0, 1, …."""
    rows = len(vectors)
    if products is None:
        products = product_table([f"p{row}" for row in range(rows)], price=[float(row) for row in range(rows)])
    config = (settings or Settings()).pipeline.index
    writer = SegmentWriter(folder, vectors.shape[1], products.schema, config)
    if rows:
        writer.add(products, vectors, thumbnails)
    return writer.finish(segment_id, encoder_id, engine=engine)


def write_delta(
    folder: Path,
    base_folder: Path,
    vectors: np.ndarray | None = None,
    products: pa.Table | None = None,
    *,
    updates: pa.Table | None = None,
    deleted: Iterable[str] = (),
    last: Path | None = None,
    segment_id: str = "delta",
    thumbnails: Sequence[bytes | None] = (),
) -> SegmentInfo:
    """Write a delta of a base.

    Args:
        vectors, products: rows of new products, or of ones with other pictures.
        updates: a product row for each product whose attributes have changed; its pictures stay those of the base.
        deleted: ids of products of the base.
        last: an earlier delta of the base, all of whose rows are carried.
    """
    base = Segment(base_folder)
    assert base.database is not None
    last_delta = None if last is None else Segment(last, base)
    older = base.products.table.schema
    schema = next((table.schema for table in (products, updates) if table is not None), older)
    schema = pa.schema([*schema, *(field for field in older if field.name not in schema.names)])
    writer = DeltaWriter(folder, base, schema)
    gone = set(deleted)
    if last_delta is not None:
        rows = np.arange(last_delta.info.rows)
        writer.carry(last_delta, rows)
        gone |= set(last_delta.product_ids(rows))
    if products is not None and vectors is not None and len(vectors):
        writer.add(conform(products, schema), vectors, thumbnails)
        gone |= set(products["product_id"].to_pylist())
    writer.delete(base.database.base_rows_of(sorted(gone)))
    for row in range(0 if updates is None else updates.num_rows):
        update = conform(updates.slice(row, 1), schema)
        base_rows = base.database.base_rows_of(update["product_id"].to_pylist())
        table = base.products.rows_table(base_rows)
        update = update.take(pa.array(np.zeros(len(base_rows), np.int64)))
        for name in ("picture", "image_url"):
            update = update.set_column(schema.get_field_index(name), schema.field(name), table[name])
        writer.update(update, base_rows)
    info = writer.finish(segment_id)
    if last_delta is not None:
        last_delta.close()
    base.close()
    return info


def manifest_of(
    segments: Sequence[SegmentRef],
    *,
    second: int = 0,
    search: Mapping[str, SearchParams] | None = None,
    encoder: Mapping[str, Any] = ENCODER,
    engine_url: str = "",
) -> Manifest:
    """Make a manifest created so many seconds after 2026 began, under its version name."""
    draft = Manifest(
        version="",
        created_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second),
        encoder=dict(encoder),
        segments=list(segments),
        search=dict(search or {"image": SearchParams()}),
        counts=Counts(input_rows=1, indexed=1, pictures=1),
        engine_url=engine_url,
    )
    return draft.named()


def open_release(
    *folders: Path, verify: bool = True, encoder: Mapping[str, Any] = ENCODER, opened: Sequence[Segment] = ()
) -> Release:
    """Open a release of a base, and of a delta if there are two folders."""
    references = []
    for folder in folders:
        info = read_info(folder)
        references.append(
            SegmentRef(id=info.id, rows=info.rows, products=info.products, bytes=0, info_sha256=sha256_of_info(folder))
        )
    return Release(manifest_of(references, encoder=encoder), list(folders), verify=verify, opened=opened)


def store_segment(store: Store, segment_id: str, *, rows: int = 5, seed: int = 0, **options: Any) -> SegmentRef:
    """Write a small segment into a store."""
    with store.new_segment(segment_id) as folder:
        write_segment(folder, unit_vectors(rows, seed=seed), segment_id=segment_id, **options)
    return store.reference(segment_id)


def force_path(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Make filtered searches score allowed rows one by one ("scan") or find them in the index ("probe")."""
    monkeypatch.setattr(planner, "exact_is_cheaper", lambda *_: path == "scan")
    monkeypatch.setattr(planner, "exact_is_cheaper_than_graph", lambda *_: path == "scan")
    monkeypatch.setattr(planner, "gathering_is_cheaper", lambda *_: path == "scan")
