"""Small segments, releases and manifests for the tests of artifacts/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from artifacts.index import planner
from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from artifacts.schema import segment_schema
from artifacts.segments import segment as segment_module
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
    """float16[rows, dim], L2-normalised; around so many centres if `clusters`."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, dim))
    if clusters:
        centres = rng.standard_normal((clusters, dim)) * 2
        vectors = centres[rng.integers(0, clusters, rows)] + 0.5 * vectors
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def queries_like(vectors: np.ndarray, count: int, *, seed: int = 1) -> np.ndarray:
    """float32[count, dim], L2-normalised, each near one of the vectors."""
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
    """Product rows in `segment_schema`; columns that are not given are null, pictures number 0."""
    schema = segment_schema(dict(attributes or {}))
    rows = len(product_ids)
    made: dict[str, Any] = {
        "product_id": list(product_ids),
        "picture": list(pictures) if pictures is not None else [0] * rows,
        "image_url": [f"{product_id}.jpg" for product_id in product_ids],
        **columns,
    }
    arrays = [pa.array(made.get(field.name, [None] * rows), field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def write_segment(
    folder: Path,
    vectors: np.ndarray,
    products: pa.Table | None = None,
    *,
    segment_id: str = "segment",
    settings: Settings | None = None,
    tombstones: Iterable[str] = (),
    thumbnails: Sequence[bytes | None] = (),
    encoder_id: str = ENCODER["id"],  # type: ignore[assignment]
) -> SegmentInfo:
    """A segment of these rows; products p0, p1, … with a price of 0, 1, … if none are given."""
    rows = len(vectors)
    if products is None:
        products = product_table([f"p{row}" for row in range(rows)], price=[float(row) for row in range(rows)])
    writer = SegmentWriter(folder, vectors.shape[1])
    if rows:
        writer.add(products, vectors, thumbnails)
    config = (settings or Settings()).pipeline.index
    return writer.finish(segment_id, encoder_id, products.schema, config, tombstones=tombstones)


def manifest_of(
    segments: Sequence[SegmentRef],
    *,
    second: int = 0,
    search: Mapping[str, SearchParams] | None = None,
    encoder: Mapping[str, Any] = ENCODER,
) -> Manifest:
    """A manifest made at that second of 2026, under the version name that goes with it."""
    draft = Manifest(
        version="",
        created_at=datetime(2026, 1, 1, second // 3600, second // 60 % 60, second % 60, tzinfo=UTC),
        encoder=dict(encoder),
        segments=list(segments),
        search=dict(search or {"image": SearchParams()}),
        counts=Counts(input_rows=1, indexed=1, pictures=1),
    )
    return draft.named()


def open_release(
    *folders: Path, verify: bool = True, encoder: Mapping[str, Any] = ENCODER, opened: Sequence[Segment] = ()
) -> Release:
    """A release of these segments, oldest first."""
    references = []
    for folder in folders:
        info = read_info(folder)
        references.append(
            SegmentRef(id=info.id, rows=info.rows, products=info.products, bytes=0, info_sha256=sha256_of_info(folder))
        )
    return Release(manifest_of(references, encoder=encoder), list(folders), verify=verify, opened=opened)


def store_segment(store: Store, segment_id: str, *, rows: int = 5, seed: int = 0, **options: Any) -> SegmentRef:
    """A small segment in a store."""
    with store.new_segment(segment_id) as folder:
        write_segment(folder, unit_vectors(rows, seed=seed), segment_id=segment_id, **options)
    return store.reference(segment_id)


def force(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Make filtered searches score allowed rows one by one ("scan") or look for them in the index ("probe")."""
    monkeypatch.setattr(planner, "exact_is_cheaper", lambda *_: path == "scan")
    monkeypatch.setattr(segment_module, "_SPARSE", 2.0 if path == "scan" else 0.0)
