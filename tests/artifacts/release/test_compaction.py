"""A release of any codec is compacted into a base that finds what base and delta found together."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from artifacts.release.compaction import write_compacted
from tests.artifacts.building import DIM, INDEXED, open_release, unit_vectors
from tests.artifacts.release.release_building import DEEP, FILTERS, Catalog


def test_compacted_base_finds_what_base_and_delta_found(catalog: Catalog, tmp_path: Path) -> None:
    codec = catalog.release.base.info.index.codec
    config = INDEXED.model_copy(update={"codec": codec, "rows_per_index": 500}).pipeline.index
    info = write_compacted(
        catalog.release, tmp_path / "new", "new", config, tombstones_since=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert (info.index.codec, info.products) == (codec, len(catalog.products))
    assert len(info.parts) == (1 if codec in ("flat", "hnsw") else -(-info.rows // 500))
    release = open_release(tmp_path / "new")
    queries = unit_vectors(20, DIM, seed=3).astype(np.float32)
    shares = []
    for conditions in FILTERS.values():
        passing = catalog.passing(conditions)
        hits, _ = release.search(queries, 20, DEEP, conditions)
        for query, found in zip(queries, hits, strict=True):
            truth = list(catalog.brute_force(query, passing))[:20]
            ids = release.product_ids(found)
            assert len(ids) == min(20, len(passing))
            assert {*ids} <= {product.id for product in passing}
            shares += [len({*ids} & {*truth}) / len(truth)] if truth else []
    assert np.mean(shares) >= 0.95
    release.close()
