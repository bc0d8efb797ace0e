"""A search from its query vector to the page that is shown."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import quote

import numpy as np
from cachetools import LRUCache, cached
from cachetools.keys import hashkey

from artifacts.errors import QueryError
from artifacts.filters import Filter
from artifacts.products import shown
from artifacts.release import Hit
from artifacts.settings import Settings
from serving.ranking import SIGNALS, WINDOW, score, spread_categories, start_of_day
from serving.snapshot import Snapshot

#: Values of one facet that are returned, the most frequent first.
FACET_VALUES = 100


@dataclass(frozen=True)
class Options:
    """How a search is filtered, ranked and cut."""

    conditions: Filter = ()
    categories: tuple[str, ...] = ()  # that the caller asked for: the cap leaves them alone
    limit: int = 20
    offset: int = 0
    rerank: bool = True
    max_per_category: int = 0
    facets: tuple[str, ...] = ()
    recall: float = 1.0
    explain: bool = False


@dataclass
class Clock:
    """Milliseconds of the stages of one request."""

    began: float = field(default_factory=perf_counter)
    stages: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=perf_counter)

    def stage(self, name: str) -> None:
        """The stage that ends now."""
        now = perf_counter()
        self.stages[name] = round((now - self._last) * 1000, 3)
        self._last = now

    @property
    def milliseconds(self) -> float:
        return round((perf_counter() - self.began) * 1000, 3)


def search(
    snapshot: Snapshot,
    vector: np.ndarray,
    kind: str,
    options: Options,
    settings: Settings,
    clock: Clock,
    *,
    without: Collection[str] = (),
) -> dict[str, Any]:
    """Search one release and return the answer as the contract has it.

    Args:
        vector: float32[dim], L2-normalised.
        kind: image or text: which calibrated parameters to use.
        without: ids of products that are left out.
    """
    params = snapshot.params(kind)
    if options.recall > 1:
        params = params.deeper(options.recall)
    last = options.offset + options.limit
    wanted = max(WINDOW, last) if options.rerank or options.max_per_category else last
    hits, plans = snapshot.release.search(vector[None, :], wanted, params, options.conditions, without=without)
    clock.stage("search")
    ordered = _ranked(snapshot, hits[0], options, settings)
    clock.stage("rank")
    page = ordered[options.offset : last]
    rows = snapshot.release.rows_of([hit for hit, _ in page])
    answer: dict[str, Any] = {
        "results": [
            {**_product(row), "similarity_score": round(hit.score, 6), "score": round(total, 6)}
            for (hit, total), row in zip(page, rows, strict=True)
        ],
        "total_found": _total(snapshot, options.conditions, without),
        "search_id": uuid.uuid4().hex,
        "release": snapshot.manifest.version,
    }
    if options.facets:
        answer["facets"] = {name: facet(snapshot, name, options.conditions) for name in options.facets}
    clock.stage("enrich")
    if options.explain:
        answer["explain"] = {
            "params": {"nprobe": params.nprobe, "rescore": params.rescore},
            "segments": [vars(plan) for plan in plans],
            "milliseconds": clock.stages,
        }
    answer["query_time_ms"] = clock.milliseconds
    return answer


def _ranked(snapshot: Snapshot, hits: list[Hit], options: Options, settings: Settings) -> list[tuple[Hit, float]]:
    """Hits with their scores, in the order to show."""
    scored = [(hit, hit.score) for hit in hits]
    if not options.rerank and not options.max_per_category:
        return scored
    head, tail = scored[:WINDOW], scored[WINDOW:]
    signals = snapshot.release.rows_of([hit for hit, _ in head], SIGNALS)
    if options.rerank:
        today = start_of_day()
        totals = [score(hit.score, row, settings, today) for (hit, _), row in zip(head, signals, strict=True)]
        # Python's sort is stable: equal scores stay in the order of similarity.
        order = sorted(range(len(head)), key=lambda place: -totals[place])
        head = [(head[place][0], totals[place]) for place in order]
        signals = [signals[place] for place in order]
    spread = spread_categories([row["category"] for row in signals], options.max_per_category, options.categories)
    return [head[place] for place in spread] + tail


def _total(snapshot: Snapshot, conditions: Filter, without: Collection[str]) -> int:
    """How many products pass the filters, those left out not counted."""
    total = snapshot.release.count(conditions)
    for product_id in without:
        place = snapshot.release.locate(product_id)
        if place is None:
            continue
        allowed = snapshot.release.allowed(conditions)[place[0]]
        total -= allowed is None or int(place[1][0]) in allowed
    return total


def product(snapshot: Snapshot, product_id: str) -> dict[str, Any] | None:
    """One product with all its pictures, or None if it is not in the release."""
    place = snapshot.release.locate(product_id)
    if place is None:
        return None
    segment = snapshot.release.segments[place[0]]
    rows = segment.products.take(place[1])
    return {**_product(rows[0]), "pictures": [_product(row)["image_url"] for row in rows]}


def _product(row: dict[str, Any]) -> dict[str, Any]:
    """A product row as an answer shows it, with a picture that a browser can fetch."""
    answer = shown(row)
    if not row["image_url"].lower().startswith(("http://", "https://")):
        answer["image_url"] = f"/v1/products/{quote(row['product_id'], safe='')}/image?picture={row['picture']}"
    return answer


_facets: LRUCache[Any, list[dict[str, Any]]] = LRUCache(1024)


@cached(
    _facets,
    key=lambda snapshot, column, conditions: hashkey(snapshot.manifest.version, column, conditions),
    lock=threading.Lock(),
)
def facet(snapshot: Snapshot, column: str, conditions: Filter) -> list[dict[str, Any]]:
    """Values of a column with the number of products of each, over all that pass the filters.

    Raises:
        QueryError: there is no such column, or its values are too many to count apart.
    """
    columns = snapshot.release.columns
    if column not in columns:
        raise QueryError("facets", f"there is no attribute {column[:80]!r}; there are {', '.join(sorted(columns))}")
    if str(columns[column]) == "double" or str(columns[column]).startswith("timestamp"):
        raise QueryError("facets", f"{column} holds measures, not values to count; filter it by a range instead")
    counts = snapshot.release.facet(column, conditions)
    return [{"value": each.value, "count": each.count} for each in counts[:FACET_VALUES]]


def mean_vector(vectors: Sequence[np.ndarray] | np.ndarray, field_name: str) -> np.ndarray:
    """The direction in the middle of several unit vectors, float32[dim].

    Raises:
        QueryError: they cancel out, or are not numbers, so there is no direction to look in.
    """
    mean = np.mean(np.asarray(vectors, np.float32), axis=0)
    norm = float(np.linalg.norm(mean))
    if not np.isfinite(norm) or norm < 1e-6:
        raise QueryError(
            field_name, "the query has no direction: its parts cancel out, or the encoder made nothing of it"
        )
    return mean / norm
