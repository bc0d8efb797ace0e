"""TODO."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artifacts.encoders.base import Encoder
from artifacts.index.params import SearchParams
from artifacts.products.filters import Filter
from artifacts.release.release import Hit, Release
from artifacts.segments.segment import Plan
from artifacts.store.manifest import Manifest
from serving.releases.batching import Batcher

#: The hits of a query, and the plan of each segment.
IndexResult = tuple[list[Hit], list[Plan]]


#: Queries in one call of the index; more would be late for what more save.
_QUERIES_AT_ONCE = 16


@dataclass(frozen=True)
class IndexQuery:
    """What the index is asked for one query."""

    vector: np.ndarray  # float32[dim], L2-normalised
    depth: int
    params: SearchParams
    conditions: Filter
    without: frozenset[str]  # products that are left out


@dataclass(frozen=True)
class Snapshot:
    """One release, open, with its encoder."""

    release: Release
    encoder: Encoder
    search: Batcher[IndexQuery, IndexResult]
    encode_texts: Batcher[str, np.ndarray]  # each a float32[dim]
    encode_pictures: Batcher[Any, np.ndarray]  # of what `encoder.prepare` makes of a picture
    loaded_at: float = field(default_factory=time.time)  # Unix time

    @property
    def manifest(self) -> Manifest:
        return self.release.manifest

    def params(self, kind: str) -> SearchParams:
        """How hard to look for a kind of query; the deepest the gate chose where a query mixes kinds."""
        chosen = self.manifest.search
        if kind in chosen:
            return chosen[kind]
        if not chosen:
            return SearchParams()
        return SearchParams(
            **{name: max(vars(each)[name] for each in chosen.values()) for name in vars(SearchParams())}
        )


def search_index(release: Release, queries: Sequence[IndexQuery]) -> list[IndexResult]:
    """The hits of each, and how they were found; those with the same filter and parameters in one search."""
    groups: dict[tuple[int, SearchParams, Filter], list[int]] = defaultdict(list)
    for place, each in enumerate(queries):
        groups[each.depth, each.params, each.conditions].append(place)
    found: dict[int, IndexResult] = {}
    for (depth, params, conditions), places in groups.items():
        hits, plans = release.search(
            np.stack([queries[place].vector for place in places]), depth, params, conditions,
            excluded=[queries[place].without for place in places],
        )  # fmt: skip
        found |= {place: (each, plans) for place, each in zip(places, hits, strict=True)}
    return [found[place] for place in range(len(queries))]
