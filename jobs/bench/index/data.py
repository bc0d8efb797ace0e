"""The data of a run: vectors, queries of each modality, filters, and the exact results, in the files that tasks name.

vectors.npy           float16[rows, dim], L2-normalised
category.npy          int32[rows]: the category of each row; of vectors from a file, the cluster that it belongs to
draw.npy              int32[rows]: a drawn number below DRAWS, for filters that are unrelated to anything
<case>.queries.npy    float32[n, dim]; those of an unrelated filter are about none of its categories
<case>.truth.npy      float32[n, K]: the exact scores
data.json             the cases; written last
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from artifacts.errors import InputError
from artifacts.index.vectors import Vectors
from jobs.bench.index.peers.protocol import K
from jobs.bench.index.vector_files import open_vectors
from jobs.bench.vectors import RECIPE, ClipLike
from jobs.steps import Progress, no_progress
from jobs.workspace.fingerprints import fingerprint

SHARES = (0.1, 0.01)
COLUMNS = ("category", "draw")
DRAWS = 10_000
_DATA_FILE = "data.json"
_BLOCK = 65_536
#: Vectors of a file are put into so many clusters, as categories; fewer if there are few vectors.
_CLUSTERS, _ROWS_PER_CLUSTER, _TRAIN_ROWS = 200, 50, 100_000
#: Queries whose exact results are compared with those of a file, and their smallest agreement.
_COMPARED, _AGREEMENT = 50, 0.99


@dataclass(frozen=True)
class CaseFiles:
    """A case of a task: queries of a modality under a filter, by the names of their files.

    Attributes:
        share, allowed: of the rows, and their number.
        filter: column, any_of and below; None for all rows.
    """

    name: str
    modality: str
    kind: str  # none | unrelated | random
    share: float
    allowed: int
    filter: dict[str, Any] | None
    queries: str
    truth: str


@dataclass(frozen=True)
class IndexData:
    """Prepared data of a run."""

    name: str
    folder: Path
    rows: int
    dim: int
    cases: tuple[CaseFiles, ...]


@dataclass(frozen=True)
class _Queries:
    vectors: np.ndarray  # float32[n, dim]
    categories: np.ndarray  # int[n]
    truth: np.ndarray | None = None  # int[n, k]: the rows that a file names as the nearest


def drawn_data(
    rows: int, dim: int, seed: int, queries: int, folder: Path, *, progress: Progress = no_progress
) -> IndexData:
    """Draw pictures like CLIP's, other pictures as queries, and texts as queries; or take those that a run has kept."""
    digest = fingerprint("drawn", rows, dim, seed, queries, RECIPE)
    name = f"{rows:,} drawn vectors, {dim}-d"
    kept = _kept(name, folder / digest[:12])
    if kept is not None:
        return kept
    target = _empty(folder / digest[:12])
    space = ClipLike(dim, seed)
    vectors = np.lib.format.open_memmap(target / "vectors.npy", "w+", np.float16, (rows, dim))
    categories = np.empty(rows, np.int32)
    first = 0
    for block in space.pictures(rows, seed + 1):
        vectors[first : first + len(block.vectors)] = block.vectors
        categories[first : first + len(block.vectors)] = block.categories
        first += len(block.vectors)
        progress(first, rows)
    drawn = {"image": next(space.pictures(queries, seed + 2)), "text": space.texts(queries, seed + 3)}
    sets = {modality: _Queries(found.vectors, found.categories) for modality, found in drawn.items()}
    return _finish(name, target, vectors, categories, sets, seed)


def read_data(
    path: Path,
    queries_path: Path,
    truth_path: Path | None,
    folder: Path,
    *,
    rows: int | None = None,
    queries: int = 200,
    seed: int = 0,
    progress: Progress = no_progress,
) -> IndexData:
    """Read vectors and queries from files, L2-normalised; see `jobs.bench.index.vector_files` for the formats.

    Args:
        path: of the vectors; in HDF5, the data set `train`.
        queries_path: in HDF5, the data set `test`.
        truth_path: of the nearest rows of each query; in HDF5, the data set `neighbors`. None to compute them.
        rows: how many vectors are read; all if None.
        queries: how many queries are read at most.

    Raises:
        InputError: a file is missing or damaged, they do not fit together, a vector is zero, or the nearest rows in
            the file are not those by cosine.
    """
    files = [path, queries_path, *([truth_path] if truth_path else [])]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{missing[0]}: there is no such file")
    with open_vectors(path) as source, open_vectors(queries_path, "test") as asked:
        if source.dim != asked.dim:
            raise InputError(f"{queries_path} has vectors of {asked.dim} numbers, but {path} of {source.dim}")
        total, count = min(rows or source.rows, source.rows), min(queries, asked.rows)
        contents = [source.digest(total), asked.digest(count)]  # of what is read: a file may have a billion vectors
        name = f"{total:,} vectors of {path.name}, {source.dim}-d"
        if truth_path is not None and total < source.rows:
            raise InputError(f"{truth_path} is of all {source.rows} vectors: leave --truth or --rows away")
        truth = None
        if truth_path is not None:
            with open_vectors(truth_path, "neighbors") as nearest:
                truth = nearest.read(0, count)
            contents.append(hashlib.sha256(np.ascontiguousarray(truth).data).hexdigest())
        digest = fingerprint("read", contents, total, seed)
        kept = _kept(name, folder / digest[:12])
        if kept is not None:
            return kept
        target = _empty(folder / digest[:12])
        vectors = np.lib.format.open_memmap(target / "vectors.npy", "w+", np.float16, (total, source.dim))
        first = 0
        for block in source.blocks(_BLOCK):
            block = block[: total - first]
            vectors[first : first + len(block)] = _normalized(block, path, first)
            first += len(block)
            progress(first, total)
            if first == total:
                break
        found = next(asked.blocks(count))
    centroids, categories = _clusters(vectors, seed)
    found = _normalized(found, queries_path, 0)
    about = np.argmax(found @ centroids.T, axis=1)
    return _finish(name, target, vectors, categories, {"image": _Queries(found, about, truth)}, seed)


def _kept(name: str, folder: Path) -> IndexData | None:
    if not (folder / _DATA_FILE).exists():
        return None
    stored = json.loads((folder / _DATA_FILE).read_text())
    return IndexData(name, folder, stored["rows"], stored["dim"], tuple(CaseFiles(**case) for case in stored["cases"]))


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _normalized(vectors: np.ndarray, path: Path, first: int) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        raise InputError(f"{path}: vector {first + int(zero[0])} is zero and has no direction; remove it")
    return vectors / norms


def _clusters(vectors: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centroids float32[n, dim] of clusters of the vectors, and the cluster of each, int32[rows]."""
    count = max(1, min(_CLUSTERS, len(vectors) // _ROWS_PER_CLUSTER))
    sample = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:_TRAIN_ROWS])
    kmeans = faiss.Kmeans(vectors.shape[1], count, niter=10, seed=seed + 1, spherical=True, min_points_per_centroid=1)
    kmeans.train(vectors[sample].astype(np.float32))
    centroids = np.asarray(kmeans.centroids)
    starts = range(0, len(vectors), _BLOCK)
    nearest = [np.argmax(vectors[start : start + _BLOCK].astype(np.float32) @ centroids.T, axis=1) for start in starts]
    return centroids, np.concatenate(nearest).astype(np.int32)


def _finish(
    name: str, folder: Path, vectors: np.memmap, categories: np.ndarray, sets: Mapping[str, _Queries], seed: int
) -> IndexData:
    """Write the columns, the cases and their exact results."""
    vectors.flush()
    random = np.random.default_rng((seed, 1))
    columns = {"category": categories, "draw": random.integers(0, DRAWS, len(vectors), np.int32)}
    for column, values in columns.items():
        np.save(folder / f"{column}.npy", values)
    cases = tuple(_cases(folder, vectors, columns, sets, random))
    stored = {"rows": len(vectors), "dim": vectors.shape[1], "cases": [asdict(case) for case in cases]}
    (folder / _DATA_FILE).write_text(json.dumps(stored) + "\n")
    return IndexData(name, folder, len(vectors), vectors.shape[1], cases)


def _cases(
    folder: Path,
    vectors: np.ndarray,
    columns: Mapping[str, np.ndarray],
    sets: Mapping[str, _Queries],
    random: np.random.Generator,
) -> Iterator[CaseFiles]:
    """Yield the cases of each modality: without a filter, and under both kinds of filter at each share."""
    filters: list[tuple[str, float, dict[str, Any] | None]] = [("none", 1.0, None)]
    for share in SHARES:
        chosen = _unrelated(columns["category"], share, random)
        filters.append(("unrelated", share, {"column": "category", "any_of": chosen, "below": None}))
    for share in SHARES:
        filters.append(("random", share, {"column": "draw", "any_of": [], "below": round(DRAWS * share)}))  # noqa: PERF401
    for modality, queries in sets.items():
        for kind, share, row_filter in filters:
            name = modality if row_filter is None else f"{modality}-{kind}-{share:g}"
            about, rows = np.ones(len(queries.vectors), bool), None
            if row_filter is not None and kind == "unrelated":
                about = ~np.isin(queries.categories, row_filter["any_of"])
                rows = np.flatnonzero(np.isin(columns["category"], row_filter["any_of"]))
            elif row_filter is not None:
                rows = np.flatnonzero(columns["draw"] < round(DRAWS * share))
            if not about.any() or (rows is not None and not len(rows)):
                continue  # one category only, or no row: nothing to search
            asked = np.ascontiguousarray(queries.vectors[about], np.float32)
            scores, _ = Vectors(vectors).knn(asked, K, rows)
            if row_filter is None and queries.truth is not None:
                scores = _checked_truth(vectors, asked, queries.truth, scores)
            np.save(folder / f"{name}.queries.npy", asked)
            np.save(folder / f"{name}.truth.npy", scores)
            allowed = len(vectors) if rows is None else len(rows)
            files = (f"{name}.queries.npy", f"{name}.truth.npy")
            yield CaseFiles(name, modality, kind, round(allowed / len(vectors), 4), allowed, row_filter, *files)


def _unrelated(categories: np.ndarray, share: float, random: np.random.Generator) -> list[int]:
    """Choose whole categories in random order that hold about a share of the rows; the smallest if all are larger."""
    names, counts = np.unique(categories, return_counts=True)
    chosen: list[int] = []
    total, limit = 0, 1.05 * share * len(categories)
    for number in random.permutation(len(names)):
        if total + counts[number] <= limit:
            chosen.append(int(names[number]))
            total += int(counts[number])
    return chosen or [int(names[np.argmin(counts)])]


def _checked_truth(vectors: np.ndarray, queries: np.ndarray, nearest: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Return the scores of the rows that a file names as the nearest, float32[n, K].

    Raises:
        InputError: they do not fit the vectors, or are not the nearest by cosine.
    """
    if len(nearest) < len(queries) or nearest.shape[1] < K or nearest.max() >= len(vectors) or nearest.min() < 0:
        raise InputError(f"--truth: {nearest.shape} does not fit: it needs {K} rows of these vectors for each query")
    scores = np.stack(
        [
            np.sort(vectors[rows[:K]].astype(np.float32) @ query)[::-1]
            for rows, query in zip(nearest, queries, strict=False)
        ]
    )
    agreement = float(np.mean(scores[:_COMPARED] >= exact[:_COMPARED, -1:] - 1e-5))
    if agreement < _AGREEMENT:
        raise InputError(
            f"--truth: only {agreement:.0%} of the named rows are among the {K} nearest by cosine: they are of another "
            "measure, or of other vectors. Leave --truth away"
        )
    return scores
