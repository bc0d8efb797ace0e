"""The queries of a base, kept for its deltas: drawing them again would need the encoder and the stored pictures.

A delta is measured with its base's queries, and with queries of its own: stored vectors of its rows, moved by as much
as the base's picture queries are away from the pictures that they were made from.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from artifacts.release.release import Release
from jobs.evaluate.queries import QuerySet
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.workspace import Workspace

#: Cosine of a picture query with its picture where no queries are kept: that of the sample catalog's other views.
_COSINE = 0.9
#: Of the queries, so many are of the delta.
_OWN_SHARE = 0.25


def store_queries(workspace: Workspace, encoder_id: str, queries: Sequence[QuerySet]) -> None:
    """Keep queries in a workspace."""
    arrays: dict[str, np.ndarray] = {}
    for query_set in queries:
        arrays[f"{query_set.modality}_vectors"] = query_set.vectors
        arrays[f"{query_set.modality}_products"] = np.array(query_set.product_ids, np.str_)
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    workspace.folder.write_bytes(_name(encoder_id), content.getvalue())


def load_queries(workspace: Workspace, encoder_id: str) -> list[QuerySet]:
    """Return the queries that were kept; none if the base was built in another workspace."""
    if not workspace.folder.exists(_name(encoder_id)):
        return []
    arrays = np.load(io.BytesIO(workspace.folder.read_bytes(_name(encoder_id))), allow_pickle=False)
    modalities = [name.removesuffix("_vectors") for name in arrays.files if name.endswith("_vectors")]
    return [
        QuerySet(modality, arrays[f"{modality}_vectors"], arrays[f"{modality}_products"].tolist())
        for modality in modalities
    ]


def queries_of_delta(release: Release, kept: Sequence[QuerySet], count: int, seed: int) -> list[QuerySet]:
    """Return the kept queries with some of the release's own in the place of picture queries; without any, only these.

    Args:
        count: number of queries of a modality.
    """
    pictures = next((queries for queries in kept if queries.modality == "image"), None)
    others = [queries for queries in kept if queries.modality != "image"]
    own = _own_queries(release, pictures, max(1, round(count * _OWN_SHARE)) if pictures else count, seed)
    if pictures is None:
        return [own, *others] if len(own.product_ids) else others
    base = max(0, len(pictures.product_ids) - len(own.product_ids))
    vectors = np.concatenate([pictures.vectors[:base], own.vectors])
    return [QuerySet("image", vectors, [*pictures.product_ids[:base], *own.product_ids]), *others]


def _own_queries(release: Release, pictures: QuerySet | None, count: int, seed: int) -> QuerySet:
    """Draw queries near rows of the delta; near any rows if there is no delta."""
    random = np.random.default_rng(seed)
    rows = release.searcher.rows_that_can_be_found()
    own = rows[rows >= release.base.info.rows]
    rows = own if len(own) else rows
    chosen = np.sort(random.choice(rows, size=min(count, len(rows)), replace=False))
    vectors = release.searcher.vectors.take(chosen)
    cosine = _cosine(release, pictures)
    noise = random.standard_normal(vectors.shape).astype(np.float32)
    noise -= (noise * vectors).sum(axis=1, keepdims=True) * vectors
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    moved = cosine * vectors + np.sqrt(1 - cosine**2) * noise
    return QuerySet("image", moved.astype(np.float32), release.rows.product_ids(chosen))


def _cosine(release: Release, pictures: QuerySet | None) -> float:
    """Return the median cosine of picture queries with the nearest picture of their product."""
    if pictures is None:
        return _COSINE
    cosines = [
        float((stored @ query).max())
        for query, product_id in zip(pictures.vectors, pictures.product_ids, strict=True)
        if (stored := release.product_vectors(product_id)) is not None
    ]
    return float(np.clip(np.median(cosines), 0.1, 1.0)) if cosines else _COSINE


def _name(encoder_id: str) -> str:
    return f"queries/{fingerprint(encoder_id)}.npz"
