"""An open release together with its encoder, and how concurrent searches share calls of both."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artifacts.encoders.base import Encoder
from artifacts.index.params import SearchParams
from artifacts.products.filters import Filter
from artifacts.release.hits import Hit
from artifacts.release.release import Release
from artifacts.segments.search.candidates import Plan
from artifacts.segments.search.searcher import ENGINE_SECONDS
from artifacts.store.manifest import Manifest
from serving.releases.batching import Batcher

#: The hits of a query, and the plan by which they were found.
IndexResult = tuple[list[Hit], Plan]


@dataclass(frozen=True)
class IndexQuery:
    """One query to the index.

    Attributes:
        vector: float32[dim], L2-normalised.
        depth: number of products to return.
        params: search effort.
        conditions: filter that the products have to meet.
        excluded: ids of products that are not returned.
        expires: when the answer comes too late, by `time.perf_counter`; an engine is not waited for any longer.
    """

    vector: np.ndarray
    depth: int
    params: SearchParams
    conditions: Filter
    excluded: frozenset[str]
    expires: float = math.inf


@dataclass(frozen=True)
class Snapshot:
    """One open release with its encoder.

    Attributes:
        search: runs `search_index` for concurrent queries together.
        encode_texts: returns a float32[dim] for each text.
        encode_pictures: returns a float32[dim] for each picture prepared by `encoder.prepare`.
        loaded_at: Unix time.
    """

    release: Release
    encoder: Encoder
    search: Batcher[IndexQuery, IndexResult]
    encode_texts: Batcher[str, np.ndarray]
    encode_pictures: Batcher[Any, np.ndarray]
    loaded_at: float = field(default_factory=time.time)

    @property
    def manifest(self) -> Manifest:
        return self.release.manifest

    def params(self, modality: str) -> SearchParams:
        """Return the search effort that the recall gate chose for a modality.

        A modality that was not calibrated, such as mixed queries, gets the maximum of each parameter.

        Args:
            modality: "image", "text" or "mixed".
        """
        chosen = self.manifest.search
        if modality in chosen:
            return chosen[modality]
        if not chosen:
            return SearchParams()
        return SearchParams(
            **{name: max(vars(params)[name] for params in chosen.values()) for name in vars(SearchParams())}
        )


def engine_seconds(expires: float) -> float:
    """Return the seconds that an engine has for an answer.

    Args:
        expires: when the request's deadline passes, by `time.perf_counter`.
    """
    return min(ENGINE_SECONDS, expires - time.perf_counter())


def search_index(release: Release, queries: Sequence[IndexQuery]) -> list[IndexResult]:
    """Search a release; queries with the same depth, parameters and filter share one call.

    Returns:
        For each query its hits and the plan by which they were found.
    """
    groups: dict[tuple[int, SearchParams, Filter], list[int]] = defaultdict(list)
    for position, query in enumerate(queries):
        groups[query.depth, query.params, query.conditions].append(position)
    results: dict[int, IndexResult] = {}
    for (depth, params, conditions), positions in groups.items():
        hits, plan = release.search(
            np.stack([queries[position].vector for position in positions]), depth, params, conditions,
            excluded=[queries[position].excluded for position in positions],
            seconds=engine_seconds(max(queries[position].expires for position in positions)),
        )  # fmt: skip
        results |= {position: (hit_list, plan) for position, hit_list in zip(positions, hits, strict=True)}
    return [results[position] for position in range(len(queries))]
