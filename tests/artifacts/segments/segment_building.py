"""Segments of every layout, of the same rows, for the tests of artifacts/segments."""

from __future__ import annotations

from typing import Any

from tests.artifacts.building import queries_like, unit_vectors

ROWS = 1500
#: A dimension that 8 does not divide.
ODD_DIM = 20
VECTORS = unit_vectors(ROWS, ODD_DIM, clusters=30)
QUERIES = queries_like(VECTORS, 12)

#: Settings by the name of a layout.
LAYOUTS: dict[str, dict[str, Any]] = {
    "pq": {"codec": "pq"},
    "opq": {"codec": "opq"},
    "rabitq": {"codec": "rabitq"},
    "hnsw": {"codec": "hnsw"},
    "sq8": {"codec": "sq8"},
    "pq in 3 files": {"codec": "pq", "rows_per_index": 600},
    "rabitq in 3 files": {"codec": "rabitq", "rows_per_index": 600},
    "flat": {"codec": "flat"},
}
